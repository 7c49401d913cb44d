"""Hostile bytes: cut, flipped and made up. Only our own errors escape."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.forge import tpm as forge
from fastness.forge.model import Forged
from fastness.tee import tpm
from fastness.tee.tpm import hcl, parts, structures
from fastness.wire import cbor


@cache
def sample(trust: str = "certificate") -> Forged:
    return forge.make({"trust": trust, "gce": True})


@pytest.mark.parametrize("trust", ["certificate", "hardware-report"])
def test_truncation(trust: str) -> None:
    data = sample(trust).evidence
    for size in range(0, len(data), 1 if len(data) < 4000 else 3):
        with pytest.raises(MalformedEvidence):
            tpm.parse(data[:size])
    with pytest.raises(MalformedEvidence):
        tpm.parse(data + b"\0")


def test_parts_cut_short() -> None:
    fields = cbor.decode(sample("hardware-report").evidence)
    for key, read in ((2, structures.quote), (4, structures.public), (10, hcl.parse)):
        for size in range(len(fields[key])):
            with pytest.raises(MalformedEvidence):
                read(fields[key][:size])


@pytest.mark.parametrize("trust", ["certificate", "credential"])
def test_no_flipped_byte_passes_unseen(trust: str) -> None:
    """Every byte of quote, signature, key and values counts; attributes do where a credential ties them."""
    forged = sample(trust)
    evidence = tpm.parse(forged.evidence)
    span = evidence.spans["event_log"]
    unsigned = range(evidence.spans["ak"].offset + 4, evidence.spans["ak"].offset + 8) if trust == "certificate" else ()
    for place in range(0, span.offset, 3):
        if place in unsigned:
            continue
        data = bytearray(forged.evidence)
        data[place] ^= 1 << place % 8
        with pytest.raises((MalformedEvidence, NotGenuine, MissingCollateral)):
            found = tpm.parse(bytes(data))
            tpm.verify(found, forged.collateral, forged.anchors, at=forged.at)


def test_flipped_bytes_behind_the_key_raise_nothing_else() -> None:
    forged = sample()
    for place in range(tpm.parse(forged.evidence).spans["event_log"].offset, len(forged.evidence), 23):
        data = bytearray(forged.evidence)
        data[place] ^= 0x40
        try:
            genuine = tpm.verify(tpm.parse(bytes(data)), forged.collateral, forged.anchors, at=forged.at)
            tpm.claims(genuine)
        except (MalformedEvidence, NotGenuine, MissingCollateral):
            continue


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=700))
def test_any_bytes(data: bytes) -> None:
    tpm.recognise(data)
    tpm.recognise_part(data)
    for read in (tpm.parse, structures.quote, structures.public, structures.signature, hcl.parse, parts.pcrs):
        try:
            read(data)
        except MalformedEvidence:
            continue


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 13), st.one_of(st.binary(max_size=80), st.integers(0, 99), st.text(max_size=9))))
def test_any_map(fields: dict[int, object]) -> None:
    with pytest.raises(MalformedEvidence):
        tpm.parse(cbor.encode({**fields, 1: "fastness/tpm/v1"}))


@pytest.mark.parametrize("text", [
    b"{}", b'{"sha256":{"24":"00"}}', b'{"sha256":{"0":"zz"}}', b'{"md5":{"0":"00"}}', b'{"sha256":[]}',
    b'{"sha256":{"0":"00"}}', b"[" * 5000, b'{"a":' * 5000,
])  # fmt: skip
def test_register_values_that_are_none(text: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parts.pcrs(text)


def test_assemble_says_what_is_absent() -> None:
    with pytest.raises(MalformedEvidence, match="absent"):
        tpm.assemble({"quote": b"x"})
