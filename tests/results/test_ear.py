"""Results for others: what a token says, who can read it, and every way in which one is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness import ear, verify
from fastness.appraise import policy as policies
from fastness.cli.main import main
from fastness.errors import FastnessError, Malformed, MissingCollateral, NotGenuine
from fastness.forge import snp, tdx
from fastness.pki import jws, signer
from fastness.result import Result
from fastness.wire import x509

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
RULES = """
[[rule]]
id = "this"
effect = "accept"
when = { tee = "snp" }
require = { debug = false, simulated = true, "measurements.launch" = "%s" }
[[waive]]
check = "*.revocation"
why = "forged"
"""


def judged(launch: str | None = None, **spec: Any) -> Result:
    forged = snp.make({"generation": "turin", "table": True, **spec})
    first = verify(forged.evidence, at=forged.at, anchors=forged.anchors)
    measured = launch or (first.claims or {})["measurements"]["launch"]
    policy = policies.parse(RULES % measured, "ours.toml")
    return verify(forged.evidence, at=forged.at, anchors=forged.anchors, policy=policy)


def public(key: signer.Signer) -> x509.PublicKey:
    return x509.parse_public_key(key.public)


def real(**changed: Any) -> Result:
    """A genuine SNP result as of a vendor's own root: the forge's claims without the mark of simulation."""
    result = judged()
    claims = {**(result.claims or {}), "simulated": False, **changed}
    return Result("snp", True, NOW, claims=claims, findings=result.findings, verdict="accept", policy=result.policy)


@pytest.mark.parametrize("kind", signer.KINDS)
def test_another_library_reads_and_verifies_it(kind: str) -> None:
    key = signer.generate(kind)
    token = ear.make([judged()], key, at=datetime.now(UTC), nonce=b"n" * 32)
    web = jwt.PyJWK(jws.public_jwk(key))
    read = jwt.decode(token, web.key, algorithms=[jws.ALGORITHMS[kind]])
    assert read["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    assert read["eat_nonce"] == jws.encode(b"n" * 32)
    assert read["ear_verifier_id"]["build"].startswith("fastness ")
    assert read["submods"]["snp"]["ear_appraisal_policy_ids"][0].startswith("sha256:")
    assert jwt.get_unverified_header(token) == {"alg": jws.ALGORITHMS[kind], "kid": key.keyid, "typ": "eat-jwt"}
    mine = ear.read(token, [public(key)], at=datetime.now(UTC), nonce=b"n" * 32)
    assert mine.payload == read
    assert mine.signer == key.keyid


@pytest.mark.parametrize(
    ("changed", "name", "value", "tier"),
    [
        ({}, "hardware", 2, "affirming"),
        ({"tcb_status": "OutOfDate"}, "hardware", 32, "warning"),
        ({"tcb_status": "Revoked"}, "hardware", 96, "contraindicated"),
        ({"simulated": True}, "hardware", 97, "contraindicated"),
        ({"simulated": True}, "instance-identity", 97, "contraindicated"),
        ({}, "instance-identity", 2, "affirming"),
        ({"hardware_id": None}, "instance-identity", 0, "affirming"),
        ({}, "configuration", 2, "affirming"),
        ({"debug": True}, "configuration", 96, "contraindicated"),
        ({"debug": None}, "configuration", 0, "affirming"),
        ({}, "executables", 3, "affirming"),
        ({}, "runtime-opaque", 2, "affirming"),
        ({"debug": True}, "runtime-opaque", 96, "contraindicated"),
    ],
)
def test_the_vector_follows_from_the_claims(changed: dict[str, Any], name: str, value: int, tier: str) -> None:
    result = real(**changed)
    trust = ear.vector(result)
    assert trust.get(name, 0) == value
    assert ear.status(result, trust) == tier


def test_a_refusal_is_contraindicated_and_says_what_was_not_met() -> None:
    found = ear.appraisal(judged(launch="ab" * 48))
    assert found["ear_status"] == "contraindicated"
    assert found["ear_trustworthiness_vector"]["executables"] == 33
    assert found["ear_verifier_claims"]["verdict"] == "refuse"


def test_evidence_that_is_not_genuine_has_broken_cryptography_in_every_claim() -> None:
    forged = snp.make({"generation": "turin", "table": True, "lie": "signature"})
    result = verify(forged.evidence, at=forged.at, anchors=forged.anchors)
    found = ear.appraisal(result)
    assert set(found["ear_trustworthiness_vector"].values()) == {99}
    assert found["ear_status"] == "contraindicated"
    assert found["ear_verifier_claims"]["error"]["check"] == "snp.signature"


def test_without_a_policy_nothing_is_affirmed_and_without_collateral_nothing_claimed() -> None:
    forged = tdx.make({})
    genuine = verify(forged.evidence, at=forged.at, anchors=forged.anchors)
    assert genuine.genuine is None
    found = ear.appraisal(genuine)
    assert found["ear_status"] == "none"
    assert "ear_trustworthiness_vector" not in found
    snp_ = snp.make({"generation": "turin", "table": True})
    assert ear.appraisal(verify(snp_.evidence, at=snp_.at, anchors=snp_.anchors))["ear_status"] == "none"


@pytest.mark.parametrize(
    ("values", "tier"),
    [((-128, -1, 0, 1), "none"), ((2, 31), "affirming"), ((32, 95), "warning"), ((96, 99, 127), "contraindicated")],
)
def test_tiers_are_those_of_the_draft(values: tuple[int, ...], tier: str) -> None:
    assert {ear.tier(value) for value in values} == {tier}


KEY = signer.generate("p-256")
GOOD = ear.make([real()], KEY, at=NOW, nonce=b"n" * 16)


def parts(token: str = GOOD) -> list[dict[str, Any]]:
    return [json.loads(jws.decode(item, "x")) for item in token.split(".")[:2]]


def signed(header: dict[str, Any], payload: object, key: signer.Signer = KEY) -> str:
    body = f"{jws.encode(json.dumps(header).encode())}.{jws.encode(json.dumps(payload).encode())}"
    return f"{body}.{jws.encode(key.sign_fixed(body.encode()))}"


def refused(token: str, kind: type[FastnessError], words: str, check: str = "", **how: Any) -> None:
    with pytest.raises(kind, match=words) as caught:
        ear.read(token, [public(KEY)], **{"at": NOW, **how})
    assert not check or caught.value.check == check  # type: ignore[attr-defined]


def test_only_a_named_key_with_its_own_algorithm_is_believed() -> None:
    header, payload = parts()
    assert ear.read(GOOD, [public(signer.generate("ed25519")), public(KEY)], at=NOW).status == "affirming"
    with pytest.raises(NotGenuine) as caught:
        ear.read(GOOD, [public(signer.generate("p-256"))], at=NOW)
    assert caught.value.check == "ear.signature"
    refused(GOOD[:-3] + ("AAA" if GOOD[-3:] != "AAA" else "BBB"), FastnessError, "signed by none|base64url")
    refused(GOOD.rsplit(".", 1)[0] + ".", NotGenuine, "signed by none")
    for algorithm in ("none", "HS256", "ES384", "EdDSA", "", None):
        refused(signed({**header, "alg": algorithm}, payload), NotGenuine, "signed by none")


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"])
def test_a_token_brings_no_keys_and_no_extensions(name: str) -> None:
    header, payload = parts()
    refused(signed({**header, name: "x"}, payload), Malformed, name)


def test_its_times_and_nonce_are_kept() -> None:
    refused(GOOD, MissingCollateral, "valid now", "ear.time", at=NOW + timedelta(days=2))
    refused(GOOD, MissingCollateral, "valid now", "ear.time", at=NOW - timedelta(hours=1))
    refused(GOOD, NotGenuine, "nonce", "ear.nonce", nonce=b"m" * 16)
    assert ear.read(GOOD, [public(KEY)], at=NOW, nonce=b"n" * 16)
    header, payload = parts()
    del payload["eat_nonce"]
    refused(signed(header, payload), NotGenuine, "nonce", nonce=b"n" * 16)


@pytest.mark.parametrize(
    "edit",
    [
        {"eat_profile": "tag:ietf.org,2026:rats/ear#03"},
        {"eat_profile": None},
        {"iat": "1"},
        {"iat": True},
        {"iat": -1},
        {"iat": 1 << 40},
        {"exp": 1.5},
        {"ear_verifier_id": {}},
        {"ear_verifier_id": {"developer": 1, "build": "x"}},
        {"submods": {}},
        {"submods": []},
        {"submods": {"a": {}}},
        {"submods": {"a": {"ear_status": "great"}}},
        {"submods": {"a": {"ear_status": "affirming", "ear_trustworthiness_vector": {"hardware": 200}}}},
        {"submods": {"a": {"ear_status": "affirming", "ear_trustworthiness_vector": {"hardware": True}}}},
        {"submods": {str(index): {"ear_status": "none"} for index in range(65)}},
    ],
)
def test_claims_of_another_form_are_refused(edit: dict[str, Any]) -> None:
    header, payload = parts()
    refused(signed(header, {**payload, **edit}), Malformed, "not an EAR")


@given(st.text(max_size=200))
def test_any_text_is_refused_in_our_own_words(text: str) -> None:
    with pytest.raises(FastnessError):
        ear.read(text, [public(KEY)], at=NOW)


def test_a_name_twice_in_an_object_is_refused() -> None:
    header = jws.encode(b'{"alg":"ES256","alg":"none"}')
    refused(f"{header}.{jws.encode(b'{}')}.AA", Malformed, "each name once")


def test_the_worst_appraisal_counts() -> None:
    token = ear.make([real(), judged(launch="ab" * 48)], KEY, at=NOW)
    read = ear.read(token, [public(KEY)], at=NOW)
    assert list(read.payload["submods"]) == ["snp", "snp1"]
    assert read.status == "contraindicated"


def test_the_command_line_writes_and_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    forged = snp.make({"generation": "turin", "table": True})
    evidence, root, token, keys = (tmp_path / name for name in ("report.bin", "root.der", "result.jwt", "keys.json"))
    evidence.write_bytes(forged.evidence)
    root.write_bytes(snp.vendor("turin")[0].value.raw)
    at = f"{forged.at:%Y-%m-%dT%H:%M:%SZ}"
    assert main(["verify", str(evidence), "--anchors", str(root), "--at", at, "--offline", "--ear", str(token)]) == 0
    assert (tmp_path / "state/fastness/ear.key").stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    assert main(["evidence", "ear", "--public"]) == 0
    keys.write_text(capsys.readouterr().out)
    assert main(["evidence", "ear", str(token), "--key", str(keys)]) == 1  # genuine, and nobody judged: not affirming
    assert "none" in capsys.readouterr().out
    assert main(["evidence", "ear", str(token), "--key", str(keys), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["schema"] == "fastness/ear/v1"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(jws.public_jwk(signer.generate("p-256"))))
    assert main(["evidence", "ear", str(token), "--key", str(other)]) == 4
    assert main(["evidence", "ear", str(token), "--key", str(keys), "--at", "2020-01-01"]) == 5
    assert main(["evidence", "ear", str(root), "--key", str(keys)]) == 3
    assert main(["evidence", "ear"]) == 2
