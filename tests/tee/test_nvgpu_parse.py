"""NVIDIA reports from hostile hands: strict, bounded, and only our own errors."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vectors
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.forge import nvgpu as forge
from fastness.tee import MAX_EVIDENCE, nvgpu
from fastness.tee.nvgpu import layout

HONEST = forge.make({"feature": "spt"})
DATA = HONEST.evidence


def malformed(data: bytes, field: str | None = None) -> MalformedEvidence:
    with pytest.raises(MalformedEvidence) as caught:
        nvgpu.parse(data)
    assert field is None or caught.value.field == field
    assert 0 <= caught.value.offset <= len(data)
    return caught.value


def changed(offset: int, value: bytes) -> bytes:
    return DATA[:offset] + value + DATA[offset + len(value) :]


@pytest.mark.parametrize("name", vectors.names("nvgpu"))
def test_real_reports_come_back_as_they_were(name):
    data = vectors.case(name).files["report"]
    assert nvgpu.recognise(data)
    assert nvgpu.unparse(nvgpu.parse(data)) == data
    rows = nvgpu.show(nvgpu.parse(data))
    assert all(offset >= 0 and offset + size <= len(data) for _, offset, size, _ in rows)
    assert len({row[1] for row in rows}) == len(rows) == len({row[0] for row in rows})
    said = {row[0]: row[3] for row in rows}
    assert said.get("chip_sku", "88")[:2] == "88" and said.get("nvdec0_status", "off") in ("on", "off")
    assert "response.SPDMVersion" in said and "NumberOfBlocks" in said


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (0, b"\x12", "request.SPDMVersion"),
        (1, b"\xe1", "request.RequestResponseCode"),
        (2, b"\x00", "request.Param1"),
        (3, b"\x01", "request.Param2"),
        (36, b"\x10", "request.SlotIDParam"),
        (37, b"\x10", "response.SPDMVersion"),
        (38, b"\x7f", "response.RequestResponseCode"),
        (40, b"\xf0", "response.Param2"),
        (41, b"\x00", "NumberOfBlocks"),
        (41, b"\xff", "NumberOfBlocks"),
        (41, b"\x01", "MeasurementRecord"),
        (42, b"\xff\xff\xff", "MeasurementRecord"),
        (45, b"\x00", "Index"),
        (45, b"\xff", "Index"),
        (45, b"\x02", "Index"),
        (46, b"\x02", "MeasurementSpecification"),
        (47, b"\x00\x00", "MeasurementSize"),
        (50, b"\xff\xff", "MeasurementSize"),
    ],
)
def test_each_field_is_checked(offset, value, field):
    malformed(changed(offset, value), field)


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [
        (layout.FWID, "00", "fwid"),
        (layout.NVDEC0, "5555", "nvdec0_status"),
        (layout.FEATURE, "000000", "feature_flag"),
        (layout.DRIVER, "3535ff", "driver_version"),
        (layout.PROJECT, "0a00", "project"),
        (layout.VBIOS, "00", "vbios_version"),
        (layout.COUNTS, "000000", "measurement_counts"),
    ],
)
def test_opaque_data_that_claims_are_made_of(kind, value, field):
    malformed(forge.make({"opaque": {str(kind): value}}).evidence, field)


def test_opaque_types_come_once_and_fit():
    spans = nvgpu.parse(DATA).spans
    first = spans["vbios_version"]
    malformed(changed(first.offset - 4, layout.DRIVER.to_bytes(2, "little")))
    malformed(changed(first.offset - 2, b"\xff\xff"), "vbios_version")
    malformed(changed(first.offset - 6, b"\xff\xff"), "OpaqueLength")


def test_opaque_data_with_a_header():
    """As drivers hand it over since 620: twelve bytes, then a kind of value between type and size."""
    data = forge.make({"header": True, "feature": "spt"}).evidence
    evidence = nvgpu.parse(data)
    assert evidence.opaque == nvgpu.parse(DATA).opaque
    assert nvgpu.unparse(evidence) == data
    start = data.index(layout.OPAQUE_MAGIC)
    for place, field in ((6, "OpaqueData.profile"), (8, "OpaqueData.major"), (11, "OpaqueData.padding")):
        malformed(data[: start + place] + b"\x07" + data[start + place + 1 :], field)
    malformed(data[:start] + b"NVDAOX" + data[start + 6 :])
    newer = data[: start + 9] + b"\1\2" + data[start + 11 :]  # 2.1.2 is of the same major version
    assert nvgpu.parse(newer).opaque == evidence.opaque


def test_security_versions_say_that_they_are():
    evidence = nvgpu.parse(forge.make({"svns": {"37": 5, "40": 300}}).evidence)
    assert evidence.svns == {37: 5, 40: 300} and evidence.opaque[37] == b"\5\0"
    assert nvgpu.parse(forge.make({"header": True, "opaque": {"37": "0500"}}).evidence).svns == {}
    assert nvgpu.parse(forge.make({"opaque": {"37": "0500"}}).evidence).svns == {}


def test_switch_versions_are_text():
    malformed(forge.make({"kind": "switch", "opaque": {"6": "ff" * 8}}).evidence, "vbios_version")
    assert nvgpu.parse(forge.make({"kind": "switch", "opaque": {"6": ""}}).evidence).vbios is None


def test_padding_is_zero_and_bounded():
    assert nvgpu.parse(DATA + bytes(layout.MAX_PADDING)).padding == layout.MAX_PADDING
    malformed(DATA + bytes(layout.MAX_PADDING + 1), "padding")
    malformed(DATA + b"\0\0\1\0", "padding")
    malformed(bytes(MAX_EVIDENCE + 1), "report")


def test_truncated_at_every_byte():
    for size in range(len(DATA)):
        malformed(DATA[:size])


def test_single_byte_mutations_are_refused_and_raise_nothing_else():
    source = random.Random(5)
    for _ in range(400):
        place, bit = source.randrange(len(DATA)), 1 << source.randrange(8)
        data = changed(place, bytes((DATA[place] ^ bit,)))
        with pytest.raises((MalformedEvidence, NotGenuine, MissingCollateral)):
            nvgpu.verify(nvgpu.parse(data), HONEST.collateral, HONEST.anchors, at=HONEST.at)


@given(st.binary(max_size=400))
def test_anything_at_all(tail):
    for data in (tail, DATA[:45] + tail, DATA[:-200] + tail):
        nvgpu.recognise(data)
        with contextlib.suppress(MalformedEvidence):
            assert nvgpu.unparse(nvgpu.parse(data)) == data


def test_recognise_takes_no_other_evidence():
    assert not nvgpu.recognise(b"")
    assert not nvgpu.recognise(b"\x11\xe0")
    assert not nvgpu.recognise(b"\xd2" + DATA)
