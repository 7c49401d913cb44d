"""Collateral and TPM quotes in the forms that other programs keep them: each is the same evidence, each verifies."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from datetime import timedelta
from urllib.parse import quote as percent

import pytest
from cryptography import x509 as certs
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from fastness import verify
from fastness.collateral import tpm_forms
from fastness.collateral.gather import gather
from fastness.errors import MissingCollateral
from fastness.forge import tdx, tpm
from fastness.pki import anchors, keys
from fastness.pki.anchors import Anchors
from fastness.tee.tpm import structures
from fastness.tee.tpm.evidence import parse
from fastness.wire import cbor, pem, x509

FORGED = tdx.make({"status": "SWHardeningNeeded"})
INFO, IDENTITY = (item.data for item in FORGED.collateral.documents)
CHAIN = pem.armour("CERTIFICATE", [item.raw for item in FORGED.collateral.certificates]).decode()
LISTS = [item.raw for item in FORGED.collateral.crls]


def _parts(document: bytes) -> tuple[str, str]:
    body, _, signature = document.decode().partition(":")[2].rpartition(',"signature":"')
    return body, signature.removesuffix('"}')


def _apart(**changed: object) -> dict[str, object]:
    """The collateral JSON of dcap-qvl: bodies and signatures apart, lists in hexadecimal."""
    found: dict[str, object] = {
        "tcb_info_issuer_chain": CHAIN,
        "root_ca_crl": LISTS[1].hex(),
        "pck_crl": LISTS[0].hex(),
    }
    for name, document in (("tcb_info", INFO), ("qe_identity", IDENTITY)):
        found[name], found[f"{name}_signature"] = _parts(document)
    return found | changed


def _json(value: object) -> list[bytes]:
    return [json.dumps(value, indent=1).encode()]


RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTCB-Info-Issuer-Chain: %b\r\n\r\n%b"
FORMS = {
    "dcap-qvl": _json(_apart()),
    "lists in base64": _json(_apart(root_ca_crl=base64.b64encode(LISTS[1]).decode())),
    "bytes as numbers": _json(
        _apart(pck_crl=list(LISTS[0]), tcb_info_signature=list(bytes.fromhex(_parts(INFO)[1])))
    ),
    "whole responses as text": _json(
        {"tcb_info": INFO.decode(), "qe_identity": IDENTITY.decode(), "pck_crl_issuer_chain": CHAIN,
         "root_ca_crl": LISTS[1].hex(), "pck_crl": LISTS[0].hex()}
    ),
    "names of one's own": _json(
        {"tcbInfo": INFO.decode(), "qeIdentity": IDENTITY.decode(), "rootCaCrl": LISTS[1].hex(),
         "more": {"pckCrl": LISTS[0].hex(), "chain": percent(CHAIN)}}
    ),
    "an object inside JSON": _json([{"gpu": 1, "quote_collateral": _apart()}]),
    "JSON inside a string": _json({"tee-evidence": {"additional_evidence": json.dumps(_apart())}}),
    "documents inside": [b'{"tcb": %b, "qe" :[%b]}' % (INFO, IDENTITY), CHAIN.encode(), *LISTS],
    "responses with headers": [RESPONSE % (percent(CHAIN).encode(), INFO), IDENTITY,
                               b"HTTP/1.1 200 OK\nA: b\n\n" + LISTS[0], LISTS[1].hex().encode()],
    "headers alone": [percent(CHAIN).encode(), INFO, IDENTITY, *LISTS],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_collateral_of_other_programs(form):
    result = verify(FORGED.evidence, *FORMS[form], at=FORGED.at, anchors=FORGED.anchors)
    assert result.genuine is True and result.claims["tcb_status"] == "SWHardeningNeeded"
    assert not [item for item in result.findings if item.check == "tdx.revocation"]


@pytest.mark.parametrize("name", ["quote", "tee-evidence"])
def test_a_quote_beside_its_collateral_in_one_object(name):
    result = verify(*_json({name: FORGED.evidence.hex()} | _apart()), at=FORGED.at, anchors=FORGED.anchors)
    assert result.genuine is True and result.claims["tcb_status"] == "SWHardeningNeeded"


def test_a_document_written_anew_is_not_the_signed_one():
    again = json.dumps(json.loads(INFO), indent=1).encode()
    result = verify(FORGED.evidence, again, IDENTITY, CHAIN.encode(), *LISTS, at=FORGED.at, anchors=FORGED.anchors)
    assert result.exit_code == 4 and result.error.check == "tdx.tcb-signature"


@pytest.mark.parametrize("text", ['{"tcbInfo": "{}"}', '{"a":{"tcbInfo":' * 40, '{"signature":1,"x":{"tcbInfo":{}}'])
def test_json_that_only_looks_signed_harms_nothing(text):
    result = verify(FORGED.evidence, text.encode(), *FORMS["dcap-qvl"], at=FORGED.at, anchors=FORGED.anchors)
    assert result.genuine is True or isinstance(result.error, MissingCollateral)


# TPM

QUOTE = tpm.make({"trust": "key", "scheme": "rsassa"})
SPEC = {"pcrs": list(range(24))}


def _fields(forged):
    return cbor.decode(forged.evidence)


def _registers(forged):
    return {bank: dict(rows) for bank, rows in _fields(forged)[5].items()}[0x000B]


def _judge(forged, *sources):
    return verify(*sources, at=forged.at, anchors=forged.anchors)


def _trustee(signature, message, rows):
    return {"tpm_quote": {"signature": signature, "message": message, "pcrs": rows}}


def test_trustee_text_and_numbers():
    forged = tpm.make({"trust": "key", "scheme": "rsassa", **SPEC})
    fields, rows = _fields(forged), _registers(forged)
    ordered = [rows[index] for index in range(24)]
    key = base64.b64encode(parse(forged.evidence).key.raw).decode()
    as_text = _trustee(fields[3].hex(), base64.b64encode(fields[2]).decode(), [row.hex() for row in ordered])
    as_numbers = _trustee(list(fields[3]), list(fields[2]), [list(row) for row in ordered])
    for document in (as_text, as_numbers):
        assert _judge(forged, *_json(document | {"ak_public": key})).genuine is True
    as_text["tpm_quote"]["pcrs"][3] = "11" * 32
    assert _judge(forged, *_json(as_text | {"ak_public": key})).exit_code == 4


def _varint(value):
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80,)) + _varint(value >> 7)


def _field(number, value):
    body = _varint(value) if isinstance(value, int) else _varint(len(value)) + value
    return _varint(number << 3 | (0 if isinstance(value, int) else 2)) + body


def _gotpm(forged, bank=0x000B):
    fields = _fields(forged)
    rows = b"".join(_field(2, _field(1, index) + _field(2, row)) for index, row in _registers(forged).items())
    quote = _field(1, fields[2]) + _field(2, fields[3]) + _field(3, _field(1, bank) + rows)
    return _field(1, fields[4]) + _field(2, _field(1, b"sha1")) + _field(2, quote) + _field(3, fields[6])


def test_go_tpm_tools():
    message = _gotpm(QUOTE)
    result = _judge(QUOTE, message)
    assert result.genuine is True and result.claims["tpm"]["replayed"]
    assert tpm_forms.of_bytes(_gotpm(QUOTE, bank=4)) == []
    for end in range(0, len(message), 97):
        assert _judge(QUOTE, message[:end] or b"\n").genuine is not True


def test_keylime():
    fields, rows = _fields(QUOTE), _registers(QUOTE)
    bits = sum(1 << index for index in rows)
    dump = struct.pack("<IHB4sx", 1, 0x000B, 3, bits.to_bytes(4, "little")) + bytes(132 - 12)
    digests = [rows[index] for index in sorted(rows)]
    lists = [digests[start : start + 8] for start in range(0, len(digests), 8)]
    dump += struct.pack("<I", len(lists))
    for some in lists:
        slots = [struct.pack("<H64s", len(item), item) for item in some] + [bytes(66)] * (8 - len(some))
        dump += struct.pack("<I", len(some)) + b"".join(slots)
    text = "r" + ":".join(base64.b64encode(item).decode() for item in (fields[2], fields[3], dump))
    assert _judge(QUOTE, text.encode(), fields[4]).genuine is True
    answer = {"code": 200, "results": {"quote": text, "hash_alg": "sha256"}}
    assert _judge(QUOTE, *_json(answer), fields[4]).genuine is True


def test_registers_as_tpm2_pcrread_prints_them():
    fields, rows = _fields(QUOTE), _registers(QUOTE)
    text = "  sha256:\n" + "".join(f"    {index:<2}: 0x{row.hex().upper()}\n" for index, row in rows.items())
    assert _judge(QUOTE, fields[2], fields[3], fields[4], text.encode()).genuine is True
    assert tpm_forms.of_text(b"sha256:\n  0 : 0xAB\nand words") == []


def test_of_a_dump_of_every_register_the_quoted_ones_count():
    """As ``tpm2_pcrread`` prints them all beside a quote of a few; what was not quoted is nobody's word."""
    fields, rows = _fields(QUOTE), _registers(QUOTE)
    every = {"sha1": {index: bytes(20) for index in range(24)}, "sha256": dict.fromkeys(range(24), b"\7" * 32) | rows}
    dump = json.dumps({bank: {str(at): row.hex() for at, row in held.items()} for bank, held in every.items()}).encode()
    edited = dump.replace(next(iter(rows.values())).hex().encode(), b"ab" * 32)
    rest = (fields[2], fields[3], fields[4])
    for given in ((dump,), (edited, dump), (dump, edited)):
        result = _judge(QUOTE, *rest, *given)
        assert result.genuine is True
        assert result.claims["measurements"] == {f"pcr{index}": row.hex() for index, row in rows.items()}
    assert _judge(QUOTE, *rest, edited).error.check == "tpm.pcr-selection"
    few = json.dumps({"sha256": {str(at): row.hex() for at, row in list(rows.items())[1:]}}).encode()
    assert _judge(QUOTE, *rest, few).error.check == "tpm.pcr-selection"


def test_sized_attest_and_der_signature():
    forged = tpm.make({"trust": "key", "scheme": "ecdsa"})
    fields, rows = _fields(forged), _registers(forged)
    value = structures.signature(fields[3]).value
    from cryptography.hazmat.primitives.asymmetric import utils

    r, s = (int.from_bytes(half, "big") for half in (value[:32], value[32:]))
    plain = utils.encode_dss_signature(r, s)
    sized = len(fields[2]).to_bytes(2, "big") + fields[2]
    registers = json.dumps({"sha256": {str(index): f"0x{row.hex()}" for index, row in rows.items()}}).encode()
    assert _judge(forged, sized, plain, fields[4], registers).genuine is True
    other = utils.encode_dss_signature(r, s + 1)
    assert _judge(forged, sized, other, fields[4], registers).exit_code == 4


def _signing_ek(key):
    """(root, certificate) as Google's CA of 2020 issued them: the usage of an EK, KeyUsage to sign, no subject."""
    signer = ec.generate_private_key(ec.SECP256R1())
    name = certs.Name([certs.NameAttribute(certs.NameOID.COMMON_NAME, "host signer")])

    def made(subject, public, extensions):
        draft = certs.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(public).serial_number(3)
        draft = draft.not_valid_before(QUOTE.at - timedelta(days=1)).not_valid_after(QUOTE.at + timedelta(days=1))
        for extension, critical in extensions:
            draft = draft.add_extension(extension, critical=critical)
        return x509.certificate(draft.sign(signer, SHA256()).public_bytes(Encoding.DER))

    usage = certs.KeyUsage(True, *[False] * 8)
    purpose = certs.ExtendedKeyUsage([certs.ObjectIdentifier("2.23.133.8.1")])
    root = made(name, signer.public_key(), [(certs.BasicConstraints(True, None), True)])
    return root, made(certs.Name([]), load_der_public_key(key.raw), [(usage, True), (purpose, False)])


def test_go_tpm_tools_with_the_certificate_of_a_signing_ek():
    root, leaf = _signing_ek(parse(QUOTE.evidence).key)
    named = Anchors((anchors.from_certificate("tpm", root),))
    message = _gotpm(QUOTE) + _field(6, leaf.raw)
    (found,) = gather((message,)).evidence
    assert parse(found.data).ek_certificate is None
    assert verify(message, at=QUOTE.at, anchors=named).claims["tpm"]["ak_trust"] == "certificate"
    assert verify(message, root.raw, at=QUOTE.at).error.check == "tpm.chain"
    # alone beside a quote, it names the key
    parts = [_fields(QUOTE)[2], _fields(QUOTE)[3], cbor.encode(_fields(QUOTE)[5]), leaf.raw]
    assert verify(*parts, at=QUOTE.at, anchors=named).claims["tpm"]["ak_trust"] == "certificate"


def test_an_hcl_report_names_the_key():
    forged = tpm.make({"trust": "hardware-report"})
    fields = _fields(forged)
    registers = cbor.encode(fields[5])
    (found,) = gather((fields[2], fields[3], fields[10], registers)).evidence
    assert parse(found.data).key == parse(forged.evidence).key


def test_a_named_key_needs_no_issuer():
    forged = tpm.make({"trust": "certificate"})
    evidence = parse(forged.evidence)
    named = Anchors((anchors.from_key("tpm", "the key", evidence.key),))
    fields = _fields(forged)
    fields.pop(12, None)
    lone = cbor.encode(fields)
    assert verify(lone, at=forged.at, anchors=named).claims["tpm"]["ak_trust"] == "key"
    assert verify(lone, at=forged.at).exit_code == 4


@pytest.mark.parametrize("turned", [False, True])
def test_a_tpm_takes_its_own_log_and_not_the_one_of_the_td_around_it(turned):
    fields = _fields(QUOTE)
    logs = [tdx.log(), fields[6]]
    pieces = [fields[2], fields[3], fields[4], cbor.encode(fields[5]), *(reversed(logs) if turned else logs)]
    result = _judge(QUOTE, *pieces)
    assert result.genuine is True and result.claims["tpm"]["replayed"]


@pytest.mark.parametrize("turned", [False, True])
def test_keys_and_signatures_of_others_lie_about(turned):
    other = _fields(tpm.make({"trust": "key", "scheme": "rsassa", "nonce": "ff"}))
    fields = _fields(QUOTE)
    ours, theirs = [fields[3], fields[4]], [other[3], other[4]]
    pieces = [*theirs, *ours] if turned else [*ours, *theirs]
    assert _judge(QUOTE, fields[2], cbor.encode(fields[5]), *pieces).genuine is True
    assert _judge(QUOTE, fields[2], cbor.encode(fields[5]), *theirs).exit_code == 4


# Azure: a vTPM in a TD


def _hcl(runtime: bytes, report_data: bytes) -> bytes:
    """An HCL report of type 4 around ``runtime``: header, TDREPORT, runtime data, zeros of the NV index."""
    hardware = bytes(128) + report_data + bytes(1184 - 192)
    head = b"HCLA" + struct.pack("<IIII", 1, 2600, 2, 0) + bytes(12)
    return head + hardware + struct.pack("<IIIII", 20 + len(runtime), 1, 4, 1, len(runtime)) + runtime + bytes(99)


def _in_a_td(policy=None, **spec):
    """The pieces of a vTPM's quote and of the TD around it, which speaks for its key unless ``spec`` says other."""
    number = keys.load(parse(QUOTE.evidence).key).public_numbers().n.to_bytes(256, "big")
    key = {"kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(number).rstrip(b"=").decode()}
    runtime = json.dumps({"keys": [key], "vm-configuration": {"secure-boot": True}}).encode()
    bound = hashlib.sha256(runtime).digest().ljust(64, b"\0")
    around = tdx.make({"report_data": bound.hex()} | spec)
    fields, held = _fields(QUOTE), around.collateral
    pieces = [fields[2], fields[3], fields[6], cbor.encode(fields[5]), _hcl(runtime, bound), around.evidence]
    pieces += [item.raw for item in (*held.certificates, *held.crls)] + [item.data for item in held.documents]
    real = Anchors(tuple(item._replace(simulated=False) for item in around.anchors.items))
    return verify(*pieces, at=around.at, anchors=real, policy=policy)


def test_a_vtpm_in_a_td():
    result = _in_a_td(status="SWHardeningNeeded")
    assert (result.genuine, result.tee, result.within) == (True, "tpm", ("tdx",))
    claims = result.claims
    assert claims["tpm"]["ak_trust"] == "hardware-report" and claims["tpm"]["azure"] == {"secure_boot": True}
    assert (claims["tcb_status"], claims["cloud"], claims["cpu"]["vendor"]) == ("SWHardeningNeeded", "azure", "intel")
    assert {"mrtd", "pcr0"} <= set(claims["measurements"]) and claims["debug"] is False
    assert _in_a_td(debug=True).claims["debug"] is True


def test_a_td_that_does_not_speak_for_the_vtpm():
    for report_data in ("d4" * 64, "00" * 64):
        result = _in_a_td(report_data=report_data)
        assert (result.exit_code, result.error.check) == (4, "tpm.hardware")
    assert _in_a_td(lie="signature").exit_code == 4
    assert _in_a_td(lie="other-fmspc").exit_code == 5


@pytest.mark.parametrize("policy", ["default", "strict"])
def test_profiles_judge_the_machine_around_a_vtpm(policy):
    assert _in_a_td(policy).verdict == "accept"
    for bad in ({"debug": True}, {"status": "OutOfDate"}, {"lie": "crl-missing"}):
        assert _in_a_td(policy, **bad).verdict == "refuse"
    alone = verify(QUOTE.evidence, at=QUOTE.at, policy=policy,
                   anchors=Anchors(tuple(item._replace(simulated=False) for item in QUOTE.anchors.items)))  # fmt: skip
    assert alone.genuine is True and alone.verdict == "refuse"
