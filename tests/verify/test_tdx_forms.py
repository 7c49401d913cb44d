"""TDX quotes that go-tdx-guest took apart: put together again they are the very bytes that were signed."""

from __future__ import annotations

import struct

import pytest
from protobufs import field, message

from fastness import verify
from fastness.collateral import protobuf, tdx_forms
from fastness.collateral.gather import gather
from fastness.errors import MalformedEvidence
from fastness.forge import tdx

FORGED = tdx.make({"td_report": "1.0"})
QUOTE = FORGED.evidence
BODY = struct.Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")
REPORT = struct.Struct("<16sI28s16s32s32s32s96sHH60s64s")


def apart(quote=QUOTE, **changed):
    """``tdx.QuoteV4`` of a quote of version 4; ``changed`` fields by their name."""
    version, key_type, tee, pce_svn, qe_svn, vendor, user = struct.unpack_from("<HHI2s2s16s20s", quote)
    head = message(changed.get("version", version), key_type, tee, qe_svn, pce_svn, vendor, user)
    *fixed, first, second, third, fourth, data = BODY.unpack_from(quote, 48)
    fixed[6] = changed.get("mr_td", fixed[6])
    registers = b"".join(field(11, item) for item in (first, second, third, fourth))
    body = message(*fixed) + changed.get("rtmrs", registers) + field(12, data)
    (size,) = struct.unpack_from("<I", quote, 632)
    signed = quote[636 : 636 + size]
    report = message(*REPORT.unpack_from(signed, 134))
    (length,) = struct.unpack_from("<H", signed, 582)
    authentication, rest = signed[584 : 584 + length], signed[584 + length :]
    kind, length = struct.unpack_from("<HI", rest)
    chain = message(kind, length, rest[6 : 6 + length])
    inner = message(report, signed[518:582], message(len(authentication), authentication), chain)
    certification = message(*struct.unpack_from("<HI", signed, 128), inner)
    auth = message(changed.get("signature", signed[:64]), signed[64:128], certification)
    return message(head, body, size, auth) + field(5, b"what follows is left aside")


def test_a_quote_in_fields_is_the_quote():
    (found,) = gather((apart(),)).evidence
    assert (found.tee, found.data) == ("tdx", QUOTE)


def test_it_stands_beside_the_quote_of_a_vtpm():
    quote = field(1, b"\xffTCG" + bytes(80)) + field(2, bytes(200)) + field(3, field(1, 11) + field(2, field(2, b"r")))
    found = gather((field(1, bytes(40)) + field(2, quote) + field(9, apart()),))
    assert [item.data for item in found.evidence if item.tee == "tdx"] == [QUOTE]


@pytest.mark.parametrize(
    ("changed", "check"), [({"mr_td": bytes(48)}, "signature"), ({"signature": b"\1" * 64}, "signature")]
)
def test_a_changed_field_changes_the_quote(changed, check):
    collateral = FORGED.collateral
    pieces = [item.raw for item in (*collateral.certificates, *collateral.crls)]
    pieces += [item.data for item in collateral.documents]
    assert verify(apart(), *pieces, at=FORGED.at, anchors=FORGED.anchors).genuine is True
    error = verify(apart(**changed), *pieces, at=FORGED.at, anchors=FORGED.anchors).error
    assert error.check == f"tdx.{check}"


@pytest.mark.parametrize("changed", [
    {"mr_td": bytes(47)}, {"rtmrs": field(11, bytes(48))}, {"rtmrs": b""}, {"signature": bytes(63)},
    {"version": 1 << 16},
])  # fmt: skip
def test_what_does_not_fit_is_no_quote(changed):
    assert list(tdx_forms.of_quote(apart(**changed))) == []


def test_what_is_cut_short_is_no_quote():
    whole = apart()
    size = len(whole) - len(field(5, b"what follows is left aside"))
    for end in range(0, size, 61):
        assert list(tdx_forms.of_quote(whole[:end])) == []
    assert list(tdx_forms.of_quote(whole[:size])) == [QUOTE]


def test_numbers_have_64_bits():
    assert protobuf.fields(field(1, (1 << 64) - 1)) == [(1, b"\xff" * 8)]
    for data in (field(1, 1 << 64), b"\x08" + b"\xff" * 9 + b"\x02", b"\x08" + b"\x80" * 11, b"\x09" + bytes(8)):
        with pytest.raises(MalformedEvidence):
            protobuf.fields(data)
    with pytest.raises(MalformedEvidence):
        protobuf.fields(field(1, 1) * 257)
