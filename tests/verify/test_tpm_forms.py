"""A TPM's quote as ``tpm2_quote`` prints it, and in JSON with its registers by index."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness import verify
from fastness.forge import tpm
from fastness.pki import keys
from fastness.tee.tpm import structures
from fastness.tee.tpm.evidence import parse
from fastness.wire import cbor

FORGED = tpm.make({"trust": "key", "scheme": "rsassa", "pcrs": [0, 7, 23]})
FIELDS = cbor.decode(FORGED.evidence)
ROWS = FIELDS[5][0x000B]
KEY = keys.load(parse(FORGED.evidence).key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
BARE = structures.signature(FIELDS[3]).value


def printed(rows=ROWS, gap="    ", quote=FIELDS[2]):
    lines = ["quoted: " + quote.hex(), "signature:", "  alg: rsassa", "  sig: " + BARE.hex(), "pcrs:", "  sha256:"]
    lines += [f"    {index:<2}: 0x{row.hex().upper()}" for index, row in rows.items()]
    return "".join(f"{gap}{line}\n" for line in [*lines, "calcDigest: " + "ab" * 32]).encode()


def in_json(pcrs):
    quote = {"quote": FIELDS[2], "signature": FIELDS[3]}
    texts = {name: base64.b64encode(item).decode() for name, item in quote.items()}
    return json.dumps({"proof": texts | {"pcrs": pcrs, "ak_pubkey_pem": KEY.decode()}}).encode()


def judged(*sources):
    return verify(*sources, at=FORGED.at, anchors=FORGED.anchors)


@pytest.mark.parametrize("gap", ["", "    ", "\t"])
def test_what_tpm2_quote_prints(gap):
    assert judged(printed(gap=gap), KEY).genuine is True
    assert judged(printed(ROWS | {7: bytes(32)}, gap), KEY).exit_code == 4
    short = judged(printed(gap=gap))
    assert short.exit_code == 5 and "ak of the TPM quote" in str(short.error)


def test_a_print_of_another_quote():
    altered = bytearray(FIELDS[2])
    altered[12] ^= 1
    error = judged(printed(quote=bytes(altered)), KEY).error
    assert error.check == "tpm.signature"


def test_registers_by_index():
    pcrs = {str(index): row.hex() for index, row in ROWS.items()}
    for form in (pcrs, {"sha256": pcrs}, {f"{name:0>2}": row for name, row in pcrs.items()}):
        result = judged(in_json(form))
        assert result.genuine is True and result.claims["measurements"]["pcr23"] == pcrs["23"]
    assert judged(in_json(pcrs | {"7": "00" * 32})).exit_code == 4
    assert (
        judged(in_json(pcrs), printed(ROWS | {7: bytes(32)})).genuine is True
    )  # of two dumps, the one that was quoted


@pytest.mark.parametrize("pcrs", [{}, {"x": "00"}, {"0": 1}, {str(index): "00" * 32 for index in range(25)}, 7, None])
def test_registers_that_are_none(pcrs):
    short = judged(in_json(pcrs), FIELDS[2], FIELDS[3], KEY)
    assert short.exit_code == 5 and "pcrs of the TPM quote" in str(short.error)


SHORT = tpm.make({"trust": "key", "scheme": "rsassa", "pcrs": [*range(8)]})


@pytest.mark.parametrize("forged", [FORGED, SHORT], ids=["96 bytes", "as long as the signature"])
def test_registers_one_after_the_other(forged):
    """As ``tpm2_pcrread -o`` and ``tpm2_quote -F values`` write them: nothing in them says what they are."""
    fields = cbor.decode(forged.evidence)
    parts = [fields[2], fields[3], fields[4]]
    values = b"".join(fields[5][0x000B].values())
    result = verify(values, *parts, at=forged.at, anchors=forged.anchors)
    assert result.genuine is True and result.ignored == ()
    bare = [fields[2], structures.signature(fields[3]).value, fields[4], values]
    for order in (bare, bare[::-1]):
        assert verify(*order, at=forged.at, anchors=forged.anchors).genuine is True
    short = verify(values[:-1], *parts, at=forged.at, anchors=forged.anchors)
    assert short.exit_code == 5 and "pcrs of the TPM quote" in str(short.error) and len(short.ignored) == 1


def test_of_several_files_of_that_length_the_registers_are_those_that_were_quoted(tmp_path):
    parts = [FIELDS[2], FIELDS[3], FIELDS[4]]
    values, noise = b"".join(ROWS.values()), bytes(range(96))
    for name, data in (("a", noise), ("b", values)):
        (tmp_path / name).write_bytes(data)
    result = judged(*parts, str(tmp_path))
    assert result.genuine is True and [item.source for item in result.ignored] == [str(tmp_path / "a")]
    altered = judged(*parts, noise)
    assert altered.error.check == "tpm.pcr-digest" and altered.ignored == ()
