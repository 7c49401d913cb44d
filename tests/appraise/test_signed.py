"""Who stands behind a policy or a measurement: envelopes, owners, auditors, and every way not to count."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appraise.test_reference import STATEMENTS
from fastness.appraise import corim, owners, policy, reference, signed, statements
from fastness.appraise.reference import Row, Statement
from fastness.appraise.verdict import Verdict, appraise
from fastness.claims.model import Claims
from fastness.errors import FastnessError, Malformed, UsageError
from fastness.pki import dsse, signer
from fastness.pki.signer import Signer
from fastness.wire import cbor, cose

AT = datetime(2026, 11, 1, tzinfo=UTC)
ALICE, BOB, CAROL = (signer.generate(kind) for kind in ("ed25519", "p-256", "ed25519"))
LAUNCH = "ab" * 48
RULES = '[[rule]]\nid = "r"\neffect = "accept"\nwhen = { tee = "snp" }\nrequire = { debug = false, %s }\n'
STATEMENT = Statement(
    "keep-images", "", AT - timedelta(days=1), AT + timedelta(days=1), (Row("snp", {"launch": (LAUNCH,)}),)
)


def ring(threshold: int, more: str = "", **keys: Signer) -> str:
    rows = [
        f'[[key]]\nname = "{name}"\nkey = "{base64.b64encode(key.public).decode()}"\n' for name, key in keys.items()
    ]
    return f'schema = "fastness/keys/v1"\nthreshold = {threshold}\n' + "".join(rows) + more


def files(place: Path, **contents: str | bytes) -> Path:
    for name, data in contents.items():
        path = place / f"{name}.toml"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return place


def test_pre_authentication_encoding() -> None:
    # the example of the DSSE protocol, section "Test Vectors"
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert dsse.pae("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


@given(
    st.text(max_size=20), st.binary(max_size=50), st.lists(st.binary(min_size=1, max_size=70), min_size=1, max_size=4)
)
def test_an_envelope_is_read_back(kind: str, payload: bytes, values: list[bytes]) -> None:
    envelope = dsse.Envelope(kind, payload, tuple(dsse.Signature(str(n), value) for n, value in enumerate(values)))
    assert dsse.parse(envelope.unparse(), "x") == envelope


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_bytes_make_the_envelope_reader_raise_anything_else(data: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        dsse.parse(data, "x")
    assert refused.value.hint


@pytest.mark.parametrize(
    ("data", "said", "hint"),
    [
        (b"{", "not JSON", "get it again"), (b" " * (1 << 10), "at most 1023 bytes", "name its file"),
        (b'{"payloadType": "a", "payload": "?", "signatures": [{}]}', "not base64", "base64"),
        (b'{"payloadType": "a", "payload": 1, "signatures": [{}]}', "is missing", "base64"),
    ],
)  # fmt: skip
def test_what_is_no_envelope_is_told_with_a_remedy(
    data: bytes, said: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dsse, "MAX_ENVELOPE", 1023)
    with pytest.raises(Malformed, match=said) as refused:
        dsse.parse(data, "x")
    assert hint in refused.value.hint


@pytest.mark.parametrize("kind", signer.KINDS)
def test_keys_are_those_other_tools_read_and_write(kind: str, tmp_path: Path) -> None:
    key = signer.generate(kind)
    path, message, made = tmp_path / "key.pem", tmp_path / "m", tmp_path / "s"
    path.write_bytes(key.armoured())
    message.write_bytes(b"message")
    shown = subprocess.run(
        ["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], capture_output=True, check=True
    )
    assert shown.stdout == key.public
    hashed = [] if kind == "ed25519" else ["-digest", {"p-256": "sha256", "p-384": "sha384"}[kind]]
    sign = ["openssl", "pkeyutl", "-sign", "-rawin", *hashed, "-inkey", path, "-in", message, "-out", made]
    subprocess.run(sign, check=True)
    public = owners.parse(ring(1, a=key).encode(), "x").holders[0]
    from fastness.pki import keys

    assert signer.verifies(keys.load(public.public), made.read_bytes(), b"message")
    assert not signer.verifies(keys.load(public.public), made.read_bytes(), b"massage")
    assert signer.read(path.read_bytes(), "x").public == key.public


def test_a_key_in_the_older_form_of_curves(tmp_path: Path) -> None:
    made = ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout"]
    data = subprocess.run(made, capture_output=True, check=True).stdout
    assert b"BEGIN EC PRIVATE KEY" in data
    assert signer.read(data, "x").kind == "p-256"


@pytest.mark.parametrize("algorithm", ["X25519", "RSA", "EC -pkeyopt ec_paramgen_curve:P-521"])
def test_other_keys_are_refused(algorithm: str) -> None:
    made = ["openssl", "genpkey", "-algorithm", *algorithm.split()]
    data = subprocess.run(made, capture_output=True, check=True).stdout
    with pytest.raises(UsageError, match="not Ed25519, P-256 or P-384"):
        signer.read(data, "x")
    with pytest.raises(UsageError, match="no private key"):
        signer.read(b"", "x")


def load(place: Path, keys: str, *signers: Signer, at: datetime = AT) -> policy.Policy:
    chosen = policy.parse(RULES % '"snp.vmpl" = 0', "p.toml")
    envelope = dsse.Envelope(signed.PAYLOAD, chosen.canonical.encode(), ())
    for key in signers:
        envelope = statements.add(envelope, key)
    files(place, keys=keys)
    (place / "p.dsse.json").write_bytes(envelope.unparse())
    return policy.load(str(place / "p.dsse.json"), place / "keys.toml", at=at)


def test_k_of_n_owners(tmp_path: Path) -> None:
    two = ring(2, alice=ALICE, bob=BOB, carol=CAROL)
    found = load(tmp_path, two, ALICE, BOB)
    assert found.signed == ("alice", "bob")
    assert found.digest == policy.parse(RULES % '"snp.vmpl" = 0', "other.toml").digest
    for short in ((ALICE,), (ALICE, ALICE), (signer.generate("ed25519"), ALICE)):
        with pytest.raises(UsageError, match="signed by alice, 2 needed; missing bob, carol"):
            load(tmp_path, two, *short)


def test_a_key_counts_once_whatever_keyid_it_writes(tmp_path: Path) -> None:
    chosen = policy.parse(RULES % '"snp.vmpl" = 0', "p.toml")
    body = chosen.canonical.encode()
    mine = ALICE.sign(dsse.pae(signed.PAYLOAD, body))
    envelope = dsse.Envelope(signed.PAYLOAD, body, tuple(dsse.Signature(name, mine) for name in ("a", "b", BOB.keyid)))
    counted = signed.count(envelope, owners.parse(ring(2, alice=ALICE, bob=BOB).encode(), "x"), AT)
    assert (counted.signed, counted.enough) == (("alice",), False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("expires = 2026-10-31T00:00:00Z\n", "does not count: bob (expired 2026-10-31T00:00:00Z)"),
        ('withdrawn = 2026-10-31T00:00:00Z\nwhy = "lost"\n', "bob (withdrawn 2026-10-31T00:00:00Z: lost)"),
        ("expires = 2026-11-02T00:00:00Z\nwithdrawn = 2026-10-30T00:00:00Z\n", "bob (withdrawn 2026-10-30"),
    ],
)
def test_expiry_and_withdrawal_of_a_key(tmp_path: Path, more: str, said: str) -> None:
    keys = ring(2, more, alice=ALICE, bob=BOB)
    with pytest.raises(UsageError) as caught:
        load(tmp_path, keys, ALICE, BOB)
    assert said in caught.value.what
    assert load(tmp_path, keys, ALICE, BOB, at=AT - timedelta(days=9)).signed == ("alice", "bob")


def test_a_withdrawn_policy_is_refused_whoever_signed_it(tmp_path: Path) -> None:
    digest = policy.parse(RULES % '"snp.vmpl" = 0', "p.toml").digest
    more = f'[[withdrawn]]\nsha256 = "{digest}"\nwhy = "wrong floor"\n'
    with pytest.raises(UsageError, match="withdrawn: wrong floor"):
        load(tmp_path, ring(1, more, alice=ALICE), ALICE)


def test_what_is_unsigned_is_refused_where_owners_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = files(tmp_path, keys=ring(1, alice=ALICE), p=RULES % '"snp.vmpl" = 0')
    for name in ("strict", str(place / "p.toml")):
        with pytest.raises(UsageError, match="not signed"):
            policy.load(name, place / "keys.toml")
        assert policy.load(name)
        monkeypatch.setenv("FASTNESS_OWNERS", str(place / "keys.toml"))
        with pytest.raises(UsageError, match="not signed"):
            policy.load(name)
        monkeypatch.delenv("FASTNESS_OWNERS")


def test_a_changed_payload_or_type_is_not_signed(tmp_path: Path) -> None:
    load(tmp_path, ring(1, alice=ALICE), ALICE)
    path = tmp_path / "p.dsse.json"
    envelope = dsse.parse(path.read_bytes(), "x")
    changed = envelope.payload.replace(b'vmpl" = 0', b'vmpl" = 3')
    assert changed != envelope.payload
    path.write_bytes(dsse.Envelope(signed.PAYLOAD, changed, envelope.signatures).unparse())
    with pytest.raises(UsageError, match="no owner"):
        policy.load(str(path), tmp_path / "keys.toml")
    other = statements.add(dsse.Envelope(statements.PAYLOAD, envelope.payload, ()), ALICE)
    path.write_bytes(other.unparse())
    with pytest.raises(UsageError, match="an envelope of"):
        policy.load(str(path), tmp_path / "keys.toml")


def test_an_envelope_never_reaches_for_files_nobody_signed(tmp_path: Path) -> None:
    payload = b'include = ["strict"]\n'
    envelope = statements.add(dsse.Envelope(signed.PAYLOAD, payload, ()), ALICE)
    place = files(tmp_path, keys=ring(1, alice=ALICE))
    (place / "p.json").write_bytes(envelope.unparse())
    with pytest.raises(UsageError, match="not in canonical form"):
        policy.load(str(place / "p.json"), place / "keys.toml", at=AT)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (ring(3, alice=ALICE, bob=BOB), "threshold 3 of 2 keys"),
        (ring(0, alice=ALICE), "threshold 0"),
        (ring(1, alice=ALICE, again=ALICE), "twice"),
        (ring(1, "extra = 1\n", alice=ALICE), "unknown key 'extra'"),
        (ring(1, "expires = 2027-01-01\n", alice=ALICE), "time with a zone"),
        (ring(1, '[[withdrawn]]\nsha256 = "12"\nwhy = "x"\n', alice=ALICE), "sha256 and why"),
        (ring(1).replace("v1", "v2"), "schema"),
        (ring(1), "1 to 64"),
        (ring(1, alice=ALICE).replace('key = "', 'key = "AA'), "no public key"),
    ],
)
def test_a_fault_in_a_file_of_keys_has_a_place(written: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        owners.parse(written.encode(), "k.toml")
    assert caught.value.where.startswith("k.toml:")
    assert caught.value.hint


VALID = {"valid_until": "2027-01-01T00:00:00Z"}
GENUINE = Claims("snp", debug=False, measurements={"launch": LAUNCH, "id_key_digest": "00" * 48}, extra={"vmpl": 0})


def judge(place: Path, head: str, claims: Claims = GENUINE, at: datetime = AT, use: str = "") -> Verdict:
    use = use or 'measurements = "@keep-images"'
    return appraise((claims,), (), policy.parse(head + RULES % use, str(place / "p.toml")), at=at, measured=True)


def test_plain_reference_values(tmp_path: Path) -> None:
    place = files(tmp_path, values=reference.dump_toml(STATEMENT))
    head = 'reference = ["values.toml"]\n'
    for use in ('measurements = "@keep-images"', '"measurements.launch" = "@keep-images"'):
        assert judge(place, head, use=use).accepted
        for other in (
            Claims("snp", debug=False, measurements={"launch": "cd" * 48}),
            Claims("snp", debug=False),
            Claims("snp", debug=False, measurements={"other": LAUNCH}),
        ):
            refused = judge(place, head, other, use=use)
            assert not refused.accepted
            assert all(item.hint for item in refused.against)
    for at in (AT - timedelta(days=2), AT + timedelta(days=1)):
        refused = judge(place, head, at=at)
        assert "not valid at this time" in refused.against[0].actual


def test_a_row_holds_whole_or_not_at_all(tmp_path: Path) -> None:
    rows = (
        Row("tdx", {"mrtd": ("aa" * 48,), "rtmr0": ("bb" * 48,)}),
        Row("tdx", {"mrtd": ("cc" * 48,), "rtmr0": ("dd" * 48,)}),
    )
    place = files(tmp_path, values=reference.dump_toml(Statement("n", "", AT, None, rows)))
    rules = RULES.replace("snp", "tdx") % 'measurements = "@n"'
    chosen = policy.parse('reference = ["values.toml"]\n' + rules, str(place / "p.toml"))

    def accepted(**found: str) -> bool:
        claims = Claims(
            "tdx",
            debug=False,
            tcb_status="UpToDate",
            collateral=VALID,
            measurements={name: value * 48 for name, value in found.items()},
        )
        return appraise((claims,), (), chosen, at=AT).accepted

    assert accepted(mrtd="aa", rtmr0="bb", rtmr1="99")
    assert accepted(mrtd="cc", rtmr0="dd")
    assert not accepted(mrtd="aa", rtmr0="dd")
    assert not accepted(mrtd="aa")


def test_refusing_a_row_refuses_what_may_be_it(tmp_path: Path) -> None:
    rows = (Row("snp", {"launch": (LAUNCH,), "host_data": ("11" * 32,)}),)
    place = files(tmp_path, values=reference.dump_toml(Statement("bad", "", AT, None, rows)))
    rules = (
        '[[rule]]\nid = "no"\neffect = "refuse"\nwhy = "w"\nwhen = { measurements = "@bad" }\n'
        + RULES % '"snp.vmpl" = 0'
    )
    chosen = policy.parse('reference = ["values.toml"]\n' + rules, str(place / "p.toml"))
    for measured, accepted in (
        ({"launch": LAUNCH, "host_data": "11" * 32}, False),
        ({"launch": LAUNCH}, False),
        ({"launch": LAUNCH, "host_data": "22" * 32}, True),
        ({"launch": "cd" * 48}, True),
        ({}, False),
    ):
        claims = Claims("snp", debug=False, measurements=measured, extra={"vmpl": 0})
        assert appraise((claims,), (), chosen, at=AT).accepted is accepted


@pytest.mark.parametrize("form", ["dsse", "corim"])
def test_k_auditors_over_the_same_measurement(tmp_path: Path, form: str) -> None:
    def by(key: Signer, statement: Statement = STATEMENT) -> bytes:
        return statements.sign(statement, key) if form == "dsse" else corim.sign(statement, key, "somebody")

    later = Statement("keep-images", "other image", AT - timedelta(hours=1), None, STATEMENT.rows)
    files(
        tmp_path,
        a=by(ALICE),
        b=by(BOB, later),
        c=by(signer.generate("ed25519")),
        keys=ring(2, alice=ALICE, bob=BOB, carol=CAROL),
    )

    def head(*names: str) -> str:
        return f'[[reference]]\nfiles = [{", ".join(names)}]\nauditors = "keys.toml"\n'

    assert judge(tmp_path, head('"a.toml"', '"b.toml"', '"c.toml"')).accepted
    refused = judge(tmp_path, head('"a.toml"', '"c.toml"'))
    assert not refused.accepted
    assert "signed by alice, 2 needed; missing bob, carol" in refused.against[0].actual
    expired = judge(tmp_path, head('"a.toml"', '"b.toml"'), at=AT + timedelta(days=2))
    assert "no longer valid: alice" in expired.against[0].actual
    assert judge(tmp_path, head('"a.toml"') + "threshold = 1\n").accepted
    told = judge(tmp_path, head('"a.toml"', '"b.toml"'))
    assert any("signed by alice, bob" in item.actual for item in told.findings)
    digest = __import__("hashlib").sha256(statements.read(by(ALICE), "x").payload).hexdigest()
    files(tmp_path, keys=ring(1, f'[[withdrawn]]\nsha256 = "{digest}"\nwhy = "w"\n', alice=ALICE, bob=BOB))
    assert not judge(tmp_path, head('"a.toml"')).accepted


def test_the_canonical_form_carries_reference_values_and_auditors(tmp_path: Path) -> None:
    files(tmp_path, a=statements.sign(STATEMENT, ALICE), keys=ring(1, alice=ALICE, bob=BOB))
    head = '[[reference]]\nfile = "a.toml"\nauditors = "keys.toml"\nname = "keep-images"\n'
    chosen = policy.parse(head + RULES % 'measurements = "@keep-images"', str(tmp_path / "p.toml"))
    again = policy.parse(chosen.canonical, "nowhere/at/all.toml")
    assert (again.canonical, again.digest) == (chosen.canonical, chosen.digest)
    assert appraise((GENUINE,), (), again, at=AT).accepted
    files(tmp_path, a=statements.sign(STATEMENT, BOB))
    other = policy.parse(head + RULES % 'measurements = "@keep-images"', str(tmp_path / "p.toml"))
    assert other.digest != chosen.digest


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("[[reference]]\n", "without files"),
        ('[[reference]]\nfile = "a.toml"\nthreshold = 1\n', "number of auditors"),
        ('[[reference]]\nfile = "a.toml"\nauditors = "keys.toml"\nthreshold = 9\n', "number of auditors"),
        ('[[reference]]\nfile = "a.toml"\nname = "other"\n', "states values of 'keep-images'"),
        ('[[reference]]\nfile = "gone.toml"\n', "cannot be read"),
        ('[[reference]]\ninline = ["*"]\n', "not base64"),
    ],
)
def test_a_fault_in_a_reference_has_a_place(tmp_path: Path, head: str, said: str) -> None:
    files(tmp_path, a=statements.sign(STATEMENT, ALICE), keys=ring(1, alice=ALICE))
    with pytest.raises(UsageError, match=said):
        policy.parse(head, str(tmp_path / "p.toml"))


def test_reference_values_say_nothing_of_other_claims(tmp_path: Path) -> None:
    files(tmp_path, a=reference.dump_toml(STATEMENT))
    for use, said in (('hardware_id = "@keep-images"', "say nothing"), ('measurements = "ab"', "as a whole")):
        with pytest.raises(UsageError, match=said):
            policy.parse('reference = ["a.toml"]\n' + RULES % use, str(tmp_path / "p.toml"))
    with pytest.raises(UsageError, match="need reference values"):
        policy.parse('sets = { x = ["ab"] }\n' + RULES % 'measurements = "@x"', str(tmp_path / "p.toml"))


@given(STATEMENTS)
def test_corim_round_trip(statement: Statement) -> None:
    try:
        data = corim.dump(statement)
    except UsageError:
        return
    read = corim.parse(data, "x").statement
    assert read.rows == tuple(Row(row.tee, row.measurements, row.note) for row in statement.rows)
    assert (read.name, read.image, read.issued, read.expires) == (
        statement.name, statement.image or statement.name, statement.issued, statement.expires,
    )  # fmt: skip
    assert corim.dump(read) == data


def test_corim_is_what_another_decoder_reads() -> None:
    import cbor2

    outer = cbor2.loads(corim.sign(STATEMENT, BOB, "bob"))
    assert outer.tag == 18
    protected = cbor2.loads(outer.value[0])
    assert (protected[1], protected[3]) == (-7, "application/rim+cbor")
    assert cbor2.loads(protected[8]) == {0: {0: "bob"}}
    whole = cbor2.loads(outer.value[2])
    assert whole.tag == 501
    comid = cbor2.loads(whole.value[1][0].value)
    assert whole.value[1][0].tag == 506
    environment, measurements = comid[4][0][0]
    assert environment == {0: {1: "fastness", 2: "snp"}}
    assert measurements == [{0: "launch", 1: {2: [[7, bytes.fromhex(LAUNCH)]]}}]


def corim_with(**changed: object) -> bytes:
    whole = {0: "n", 1: [cbor.Tag(506, cbor.encode({1: {0: "i"}, 4: {0: [changed.get("triple", [])]}}))]}
    return cbor.encode(cbor.Tag(501, whole | dict(changed.get("more", {}))))  # type: ignore[call-overload]


ENVIRONMENT = {0: {1: "fastness", 2: "snp"}}
DIGEST = {0: "launch", 1: {2: [[7, b"\0" * 48]]}}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"triple": [ENVIRONMENT, [{0: "launch", 1: {2: [[1, b"\0" * 48]]}}]]}, "need 32 bytes, have 48"),
        ({"triple": [ENVIRONMENT, [{0: "launch", 1: {2: [[2, b"\0" * 32]]}}]]}, "sha-256, sha-384 or sha-512"),
        ({"triple": [ENVIRONMENT, [{0: 641, 1: {2: [[7, b"\0" * 48]]}}]]}, "name of a measurement"),
        ({"triple": [ENVIRONMENT, [{0: "launch", 1: {1: 3}}]]}, "measurement-values-map"),
        ({"triple": [ENVIRONMENT, [DIGEST, DIGEST]]}, "each name once"),
        ({"triple": [{0: {1: "ACME", 2: "snp"}}, [DIGEST]]}, "vendor 'fastness'"),
        ({"triple": [{0: ENVIRONMENT[0], 1: b"x"}, [DIGEST]]}, "environment-map"),
        ({"triple": [ENVIRONMENT, [{0: "launch", 1: {2: [[7, b"\0" * 48]]}, 2: []}]]}, "measurement-map"),
        ({"triple": [ENVIRONMENT, [DIGEST]], "more": {4: {1: cbor.Tag(1, 1 << 60)}}}, "not-after"),
        ({"triple": [ENVIRONMENT, [DIGEST]], "more": {9: 1}}, "corim-map"),
    ],
)
def test_what_is_not_understood_of_a_corim_is_refused(changed: dict[str, object], said: str) -> None:
    assert corim.parse(corim_with(triple=[ENVIRONMENT, [DIGEST]]), "x").statement.rows
    with pytest.raises(Malformed, match=said):
        corim.parse(corim_with(**changed), "x")


def test_a_corim_signed_under_another_name_for_the_algorithm_or_type_does_not_count() -> None:
    keys = owners.parse(ring(1, alice=ALICE).encode(), "x")
    good = corim.parse(corim.sign(STATEMENT, ALICE, "a"), "x")
    assert [item.name for item in corim.signers(good, keys)] == ["alice"]
    for headers in ({1: cose.ES256, 3: corim.CONTENT}, {3: corim.CONTENT}):
        blank = cose.Sign1(cbor.encode(headers), {}, {}, good.payload, b"", tagged=True)
        message = cose.Sign1(blank.protected, {}, {}, good.payload, ALICE.sign(blank.to_be_signed()), tagged=True)
        assert corim.signers(corim.parse(message.unparse(), "x"), keys) == ()
    for headers in ({1: cose.EDDSA, 3: "text/plain"}, {1: cose.EDDSA, 2: [9], 3: corim.CONTENT}):
        blank = cose.Sign1(cbor.encode(headers), {}, {}, good.payload, b"\0" * 64, tagged=True)
        with pytest.raises(Malformed):
            corim.parse(blank.unparse(), "x")


@given(st.binary(max_size=120).map(lambda data: b"\xd9\x01\xf5" + data) | st.binary(max_size=120))
def test_no_bytes_make_the_reader_raise_anything_else(data: bytes) -> None:
    try:
        statements.read(data, "x")
    except FastnessError as error:
        assert error.exit_code in (2, 3)


def test_an_auditor_whose_key_has_expired_no_longer_vouches(tmp_path: Path) -> None:
    lasting = Statement("keep-images", "", STATEMENT.issued, None, STATEMENT.rows)
    for until, accepted in (("2026-11-02", True), ("2026-10-31", False)):
        files(tmp_path, a=statements.sign(lasting, ALICE), keys=ring(1, f"expires = {until}T00:00:00Z\n", alice=ALICE))
        assert judge(tmp_path, '[[reference]]\nfile = "a.toml"\nauditors = "keys.toml"\n').accepted is accepted


def test_an_envelope_of_something_else_states_nothing() -> None:
    other = dsse.Envelope(signed.PAYLOAD, reference.dump_toml(STATEMENT).encode(), ())
    with pytest.raises(UsageError, match="an envelope of"):
        statements.read(statements.add(other, ALICE).unparse(), "x")


@pytest.mark.parametrize("count", [0, dsse.MAX_SIGNATURES + 1])
def test_an_envelope_has_a_bounded_number_of_signatures(count: int) -> None:
    with pytest.raises(Malformed, match="no DSSE envelope"):
        dsse.parse(dsse.Envelope("k", b"p", (dsse.Signature("", b"s"),) * count).unparse(), "x")


def test_an_owner_has_a_key_of_a_kind_that_people_sign_with() -> None:
    made = ["openssl", "ecparam", "-genkey", "-name", "secp521r1", "-noout"]
    private = subprocess.run(made, capture_output=True, check=True).stdout
    shown = ["openssl", "pkey", "-pubout", "-outform", "DER"]
    public = subprocess.run(shown, input=private, capture_output=True, check=True).stdout
    text = ring(1, alice=ALICE).replace(base64.b64encode(ALICE.public).decode(), base64.b64encode(public).decode())
    with pytest.raises(UsageError, match="no public key of Ed25519, P-256 or P-384"):
        owners.parse(text.encode(), "k.toml")


def test_a_fixed_signature_has_one_length() -> None:
    from fastness.pki import keys

    key = keys.load(owners.parse(ring(1, bob=BOB).encode(), "x").holders[0].public)
    made = BOB.sign_fixed(b"message")
    assert signer.verifies_fixed(key, made, b"message")
    assert not signer.verifies_fixed(key, made[:32] + b"\0" + made[32:], b"message")
