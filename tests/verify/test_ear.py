"""EAR: what is written is read by others, and nothing but what the trusted key signed is read back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import stat
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

import vectors
from fastness.claims import ear, vector
from fastness.claims.finding import Finding, Outcome, Where
from fastness.claims.model import Claims
from fastness.cli.main import main
from fastness.errors import FastnessError, MalformedEvidence, NotGenuine, UsageError
from fastness.pki import jose

AT = datetime(2026, 5, 1, tzinfo=UTC)
NONCE = bytes(range(32))
MAKERS = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def pem(key):
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def public_pem(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


KEYS = {name: make() for name, make in MAKERS.items()}
OURS = jose.private(pem(KEYS["ES256"]), "key.pem")
GOOD = vector.every(0) | {"hardware": 2, "runtime-opaque": 2, "executables": 3}
APPRAISED = (ear.Appraisal("snp", "affirming", GOOD, "ab" * 32), ear.Appraisal("nvgpu", "affirming", GOOD))


def token(**changed):
    """A signed token in which claims are replaced, or with None left out."""
    whole = json.loads(jose.decode(ear.write(APPRAISED, OURS, at=AT, build="1", nonce=NONCE).split(".")[1], "payload"))
    whole.update(changed)
    return OURS.sign(json.dumps({name: value for name, value in whole.items() if value is not None}).encode()).encode()


def read(data, **more):
    return ear.read(data, OURS.public, **({"at": AT} | more))


def refused(data, **more):
    with pytest.raises(NotGenuine) as caught:
        read(data, **more)
    assert caught.value.hint
    return caught.value.check


@pytest.mark.parametrize("name", MAKERS)
def test_another_library_verifies_what_we_sign(name):
    key = jose.private(pem(KEYS[name]), "key.pem")
    text = ear.write(APPRAISED, key, at=AT, build="1.2", nonce=NONCE)
    options = {"verify_iat": False}
    for theirs in (KEYS[name].public_key(), jwt.PyJWK(key.public.jwk()).key):
        claims = jwt.decode(text, theirs, algorithms=[name], options=options)
    assert jwt.get_unverified_header(text) == {"alg": name, "kid": key.public.kid, "typ": "JWT"}
    assert claims["eat_profile"] == "tag:ietf.org,2026:rats/ear#04" and claims["iat"] == int(AT.timestamp())
    assert claims["ear_verifier_id"] == {"developer": "Fastness", "build": "1.2"}
    assert base64.urlsafe_b64decode(claims["eat_nonce"] + "=") == NONCE
    assert set(claims["submods"]) == {"cpu", "gpu"}
    assert claims["submods"]["cpu"]["ear_appraisal_policy_ids"] == ["urn:sha256:" + "ab" * 32]
    assert claims["submods"]["cpu"]["ear_trustworthiness_vector"] == GOOD
    assert ear.read(text.encode(), key.public, at=AT, nonce=NONCE).status == "affirming"


@pytest.mark.parametrize("name", MAKERS)
def test_what_another_library_signs_is_read_with_jwk_and_pem(name):
    claims = json.loads(jose.decode(token().decode().split(".")[1], "payload"))
    text = jwt.encode(claims, KEYS[name], algorithm=name).encode()
    from_pem = jose.public(public_pem(KEYS[name]), "k")
    from_jwk = jose.public(json.dumps(from_pem.jwk()).encode(), "k")
    assert from_pem == from_jwk and from_pem.algorithm == name
    assert ear.read(text, from_jwk, at=AT).submods["gpu"]["ear_status"] == "affirming"


def test_the_thumbprint_is_that_of_rfc_8037():
    jwk = b'{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
    assert jose.public(jwk, "k").kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_no_algorithm_but_the_keys_own():
    body = token().decode().split(".")[1]
    none = jose.encode(b'{"alg":"none"}')
    assert refused(f"{none}.{body}.".encode()) == "ear.algorithm"
    # the old confusion: the public key taken for a secret
    hs = jose.encode(b'{"alg":"HS256"}')
    for secret in (public_pem(KEYS["ES256"]), json.dumps(OURS.public.jwk()).encode()):
        mac = hmac.new(secret, f"{hs}.{body}".encode(), hashlib.sha256).digest()
        assert refused(f"{hs}.{body}.{jose.encode(mac)}".encode()) == "ear.algorithm"
    other = jose.private(pem(KEYS["EdDSA"]), "k").sign(jose.decode(body, "payload"))
    assert refused(other.encode()) == "ear.algorithm"


def test_another_key_and_an_altered_token():
    stranger = jose.private(pem(MAKERS["ES256"]()), "k")
    head, body, signature = token().decode().split(".")
    assert refused(stranger.sign(jose.decode(body, "payload")).encode()) == "ear.kid"
    claims = json.loads(jose.decode(body, "payload"))
    assert refused(jwt.encode(claims, stranger.key.armoured(), algorithm="ES256").encode()) == "ear.signature"
    other = token(iat=1).decode().split(".")[1]
    assert refused(f"{head}.{other}.{signature}".encode()) == "ear.signature"
    der_form = base64.urlsafe_b64encode(KEYS["ES256"].sign(b"x", ec.ECDSA(serialization_hash()))).rstrip(b"=").decode()
    assert refused(f"{head}.{body}.{der_form}".encode()) == "ear.signature"
    inside = {"alg": "ES256", "jwk": stranger.public.jwk()}
    text = jwt.encode(claims, stranger.key.armoured(), algorithm="ES256", headers=inside)
    assert refused(text.encode()) == "ear.signature"


def serialization_hash():
    from cryptography.hazmat.primitives.hashes import SHA256

    return SHA256()


def test_profile_time_and_nonce():
    now = int(AT.timestamp())
    assert refused(token(eat_profile="tag:ietf.org,2026:rats/ear#03")) == "ear.profile"
    assert refused(token(iat=now + 61)) == "ear.time"
    assert refused(token(nbf=now + 61)) == "ear.time"
    assert refused(token(exp=now - 60)) == "ear.time"
    assert refused(token(), at=AT + timedelta(seconds=161), max_age=100) == "ear.time"
    assert read(token(exp=now + 101, nbf=now), at=AT + timedelta(seconds=160), max_age=200).issued == now
    assert read(token(), nonce=NONCE).nonces == (jose.encode(NONCE),)
    assert refused(token(), nonce=NONCE[::-1]) == "ear.nonce"
    assert refused(token(eat_nonce=None), nonce=NONCE) == "ear.nonce"
    with pytest.raises(UsageError):
        ear.write(APPRAISED, OURS, at=AT, build="1", nonce=b"1234567")


SUBMOD = APPRAISED[0].to_json()
WRONG = [
    {"iat": None}, {"iat": True}, {"iat": -1}, {"iat": 1.5}, {"exp": "1"}, {"nbf": 1 << 41},
    {"ear_verifier_id": None}, {"ear_verifier_id": {"build": "1"}}, {"submods": None}, {"submods": {}},
    {"submods": {"cpu": 1}}, {"submods": {str(n): SUBMOD for n in range(65)}}, {"ear_status": "good"},
    {"submods": {"cpu": SUBMOD | {"ear_status": 2}}}, {"submods": {"cpu": {"ear_trustworthiness_vector": {}}}},
    {"submods": {"cpu": SUBMOD | {"ear_trustworthiness_vector": GOOD | {"hardware": 128}}}},
    {"submods": {"cpu": SUBMOD | {"ear_trustworthiness_vector": GOOD | {"hardware": True}}}},
    {"submods": {"cpu": SUBMOD | {"ear_trustworthiness_vector": {"hard-ware": 2}}}},
    {"submods": {"cpu": SUBMOD | {"ear_trustworthiness_vector": GOOD | {"hardware": 96}}}},
    {"submods": {"cpu": SUBMOD | {"ear_appraisal_policy_ids": "x"}}},
    {"eat_nonce": "short"}, {"eat_nonce": [1]},
]  # fmt: skip


@pytest.mark.parametrize("changed", WRONG, ids=lambda item: json.dumps(item)[:40])
def test_forms_that_are_no_ear(changed):
    with pytest.raises(MalformedEvidence):
        read(token(**changed))


@pytest.mark.parametrize(
    "payload",
    [b'{"iat":1,"iat":2}', b'{"iat":NaN}', b'{"iat":1e999}', b'{"x":"\\ud800"}', b"[" * 30000, b"[]", b"\xff"],
)
def test_signed_but_no_json_of_ours(payload):
    with pytest.raises(MalformedEvidence):
        read(OURS.sign(payload).encode())


def test_hostile_tokens():
    good = token()
    for data in (b"", b"a.b", b"....", good + b".x", good.replace(b".", b".=", 1), b"\xff" + good, b"a" * (1 << 17)):
        with pytest.raises(MalformedEvidence):
            read(data)
    head, body, signature = good.decode().split(".")
    crit = jose.encode(b'{"alg":"ES256","crit":["b64"],"b64":false}')
    with pytest.raises(MalformedEvidence):
        read(f"{crit}.{body}.{signature}".encode())
    # the last character carries spare bits: a second spelling of the same signature is refused
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = signature[:-1] + alphabet[alphabet.index(signature[-1]) + 1]
    with pytest.raises(MalformedEvidence):
        read(f"{head}.{body}.{twin}".encode())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_single_change_is_read(data):
    good = bytearray(token())
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    try:
        read(bytes(good))
    except FastnessError:
        return
    assert bytes(good).strip() == token().strip() or good[place : place + 1].isspace()


def test_the_worst_submodule_counts():
    bad = ear.Appraisal("snp", "contraindicated", vector.every(99))
    silent = ear.Appraisal("snp", "none", vector.every(0))
    for extra, status in ((bad, "contraindicated"), (silent, "none")):
        text = ear.write((*APPRAISED, extra), OURS, at=AT, build="1")
        found = read(text.encode())
        assert found.status == status and set(found.submods) == {"cpu", "gpu", "cpu-2"}


def test_keys_that_are_not_to_be_trusted():
    jwk = OURS.public.jwk()
    small = public_pem(rsa.generate_private_key(65537, 2048))
    for data in (
        b"", b"{}", small, pem(KEYS["ES256"]), json.dumps(jwk | {"d": "AA"}).encode(),
        json.dumps(jwk | {"alg": "HS256"}).encode(), json.dumps(jwk | {"x": jwk["y"]}).encode(),
        json.dumps({"kty": "oct", "k": "AA"}).encode(), json.dumps(jwk | {"kid": 1}).encode(),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            jose.public(data, "key")


def rule(path, outcome):
    return Finding("policy.rule.a", outcome, where=(Where(field=path, file="p.toml", line=1),))


@pytest.mark.parametrize(
    ("claims", "findings", "accepted", "want"),
    [
        ({}, [], True, {"configuration": 2, "hardware": 2, "runtime-opaque": 2}),
        ({}, [], False, {"configuration": 0, "hardware": 2}),
        ({"debug": True}, [], True, {"configuration": 96, "runtime-opaque": 96}),
        ({"debug": None}, [], True, {"configuration": 0, "runtime-opaque": 0}),
        ({"simulated": True}, [], True, {"hardware": 96, "runtime-opaque": 96}),
        ({"tcb_status": "OutOfDate"}, [], True, {"hardware": 32}),
        ({"tcb_status": "Revoked"}, [], True, {"hardware": 96}),
        ({}, [Finding("snp.revocation", Outcome.UNKNOWN)], False, {"hardware": 0}),
        ({}, [Finding("snp.revocation", Outcome.WAIVED)], True, {"hardware": 0}),
        ({}, [rule("measurements.launch", Outcome.HELD)], True, {"executables": 3}),
        ({}, [rule("measurements.launch", Outcome.FAILED)], False, {"executables": 33}),
        ({}, [rule("measurements.rtmr0", Outcome.HELD)], True, {"executables": 0}),
        ({}, [rule("measurements", Outcome.HELD)], True, {"executables": 3}),
        (
            {"measurements": {"host_data": "00"}},
            [rule("measurements.host_data", Outcome.HELD)],
            True,
            {"executables": 0},
        ),
        (
            {},
            [rule("measurements.launch", Outcome.HELD)._replace(expected="measurements.launch !=aa")],
            True,
            {"executables": 0},
        ),
        (
            {},
            [rule("measurements.launch", Outcome.HELD)._replace(expected="measurements.launch not aa")],
            True,
            {"executables": 0},
        ),
        ({}, [rule("hardware_id", Outcome.HELD)], True, {"instance-identity": 2}),
        ({}, [rule("hardware_id", Outcome.UNKNOWN)], False, {"instance-identity": 97}),
        ({"tee": "nitro"}, [], True, {"runtime-opaque": 32}),
        ({"tee": "tpm"}, [], True, {"runtime-opaque": 0}),
    ],
)
def test_the_table_of_the_vector(claims, findings, accepted, want):
    given_ = Claims(**({"tee": "snp", "debug": False, "measurements": {"launch": "00"}} | claims))
    found = vector.of(given_, findings, accepted=accepted)
    assert set(found) == set(vector.NAMES) and want.items() <= found.items()
    assert found["file-system"] == found["storage-opaque"] == found["sourced-data"] == 0


def test_tiers_have_their_bounds():
    edges = {
        -128: 3,
        -97: 3,
        -96: 2,
        -33: 2,
        -32: 1,
        -2: 1,
        -1: 0,
        0: 0,
        1: 0,
        2: 1,
        31: 1,
        32: 2,
        95: 2,
        96: 3,
        127: 3,
    }
    assert {value: vector.TIERS.index(vector.tier(value)) for value in edges} == edges


def command(capsys, *words):
    capsys.readouterr()
    code = main([str(word) for word in words])
    return code, capsys.readouterr().out


@vectors.needs_vectors
def test_the_command_writes_and_reads(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    case = vectors.ROOT / "tdx" / "v4-uptodate"
    out, at = tmp_path / "x.jwt", ("--at", "2025-07-04T10:16:31Z")
    assert command(capsys, "verify", case, *at, "--offline", "--policy", "default", "--ear", out)[0] == 0
    made = tmp_path / "state" / "fastness" / "ear-key.pem"
    assert stat.S_IMODE(made.stat().st_mode) == stat.S_IMODE(out.stat().st_mode) == 0o600
    jwk = tmp_path / "x.jwk"
    jwk.write_text(command(capsys, "evidence", "ear-key")[1])
    assert "d" not in json.loads(jwk.read_text())
    code, text = command(capsys, "evidence", "ear", out, "--key", jwk, "--json", *at)
    assert code == 0 and json.loads(text)["submods"]["cpu"]["ear_trustworthiness_vector"]["hardware"] == 2
    assert command(capsys, "evidence", "ear", out, "--key", jwk, "--max-age", "60")[0] == 4
    no = tmp_path / "no.toml"
    no.write_text('[[rule]]\nid = "no"\neffect = "refuse"\nwhy = "test"\nwhen = { tee = "tdx" }\n')
    # refused by a policy, asked of none, and not genuine: never affirming
    for words, status in (
        ((case,), "none"),
        ((case.parent / "v4-uptodate--flip-mrtd", "--policy", "default"), "contraindicated"),
        ((case, "--policy", no), "contraindicated"),
    ):
        command(capsys, "verify", *words, *at, "--offline", "--ear", out)
        code, text = command(capsys, "evidence", "ear", out, "--key", jwk, "--json")
        assert (code, json.loads(text)["status"]) == (1, status), words
    assert command(capsys, "verify", case, "--ear-key", made)[0] == 2
    assert command(capsys, "verify", "--batch", "--ear", out)[0] == 2


@vectors.needs_vectors
def test_each_attester_has_its_submodule(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    out, jwk = tmp_path / "x.jwt", tmp_path / "x.jwk"
    jwk.write_text(command(capsys, "evidence", "ear-key")[1])
    gpu = next(vectors.ROOT / name for name in vectors.names("nvgpu") if "--" not in name)
    case = vectors.case(f"nvgpu/{gpu.name}")
    cpu = vectors.ROOT / "tdx" / "v4-uptodate"
    command(capsys, "verify", gpu, cpu, "--at", case.at.isoformat(), "--offline", "--ear", out)
    text = command(capsys, "evidence", "ear", out, "--key", jwk, "--json")[1]
    assert {"gpu", "cpu"} <= set(json.loads(text)["submods"])


def test_layers_become_appraisals_of_their_own():
    from fastness.cli.ear import appraised
    from fastness.result import Result

    layers = (Claims("nvgpu", debug=False, measurements={"m1": "00"}), Claims("snp", debug=True))
    found = appraised(Result("nvgpu", True, AT, verdict="accept", layers=layers, policy={"name": "p", "sha256": "00"}))
    assert [(item.tee, item.status) for item in found] == [("nvgpu", "affirming"), ("snp", "contraindicated")]
    assert [item.status for item in appraised(Result("snp", None, AT))] == ["none"]
    assert appraised(Result("snp", False, AT, error=MalformedEvidence("x", 0, 1, 2)))[0].vector == vector.every(1)
    assert appraised(Result("snp", False, AT, error=NotGenuine("snp.signature", "x")))[0].vector == vector.every(99)


def test_the_older_names_under_the_older_profile_only():
    text = ear.write(APPRAISED, OURS, at=AT, build="1", nonce=NONCE, profile="2023")
    claims = json.loads(jose.decode(text.split(".")[1], "payload"))
    assert claims["eat_profile"] == "tag:github.com,2023:veraison/ear" and "ear.verifier-id" in claims
    assert claims["submods"]["cpu"]["ear.appraisal-policy-id"] == "urn:sha256:" + "ab" * 32
    assert claims["submods"]["cpu"]["ear.trustworthiness-vector"] == GOOD
    assert "ear_" not in json.dumps(claims)
    new = ear.write(APPRAISED, OURS, at=AT, build="1", nonce=NONCE)
    assert read(text.encode(), nonce=NONCE) == read(new.encode())
    for name in ear.PROFILES.values():
        mixed = (
            token(eat_profile=name)
            if name != ear.PROFILE
            else OURS.sign(json.dumps(claims | {"eat_profile": name}).encode()).encode()
        )
        with pytest.raises(MalformedEvidence):
            read(mixed)
