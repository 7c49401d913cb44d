"""SEV: a real Naples chain, forged platforms and guests, and one lie per link."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vectors
from fastness.claims.finding import Outcome, table
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine, UsageError
from fastness.forge import sev as forge
from fastness.forge.model import Forged
from fastness.pki import anchors as pins
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, sev
from fastness.tee.sev import layout


def verify(forged: Forged, **changed: Any) -> Any:
    given_ = replace(forged, **changed)
    return sev.verify(sev.parse(given_.evidence), Collateral(), given_.anchors, at=given_.at)


def real(name: str) -> bytes:
    made = sev.assemble(vectors.case(name).files)
    assert made is not None
    return made


@vectors.needs_vectors
def test_a_real_platform() -> None:
    genuine = verify(Forged("sev", real("sev/naples-chain"), Collateral(), pins.vendor(), forge.AT))
    told = sev.claims(genuine)
    assert told.cpu.generation == "naples"
    assert told.debug is None
    assert "speaks of a platform only" in told.not_checked[0]
    assert not told.measurements
    for role, data in vectors.case("sev/naples-chain").files.items():
        assert sev.recognise_part(data) == role


@vectors.needs_vectors
def test_an_altered_platform() -> None:
    with pytest.raises(NotGenuine) as error:
        verify(Forged("sev", real("sev/naples-chain--flip-pek"), Collateral(), pins.vendor(), forge.AT))
    assert error.value.check == "sev.pek"


@vectors.needs_vectors
@pytest.mark.parametrize("line", ["naples", "rome", "milan", "genoa", "turin"])
def test_real_roots_of_every_line_are_pinned_and_sign_their_ask(line: str) -> None:
    from fastness.tee.sev import endorse
    from fastness.tee.sev.evidence import amd_certificate

    ark, ask = ((vectors.ROOT / "roots" / f"amd-sev-{name}-{line}.cert").read_bytes() for name in ("ark", "ask"))
    root, intermediate = amd_certificate(ark, "ark"), amd_certificate(ask, "ask")
    anchor = pins.vendor().find("sev", endorse.public_key(root))
    assert anchor is not None
    assert anchor.line == line
    assert endorse.amd_signed(root, root)
    assert endorse.amd_signed(intermediate, root)


def test_a_guest() -> None:
    genuine = verify(forge.make({"guest": {"policy": 0x0001_0005}}))
    told = sev.claims(genuine)
    assert told.debug is False
    assert told.extra["policy"]["es"] is True
    assert told.extra["policy"]["api_major"] == 1
    assert told.measurements == {"launch": "3e" * 32}
    assert told.extra["speaks_of"] == "guest"
    assert genuine.simulated
    assert [item.outcome for item in genuine.findings if item.check == "sev.revocation"] == [Outcome.UNKNOWN]


def test_b15_a_guest_in_debug_is_told() -> None:
    assert sev.claims(verify(forge.make({"guest": {"policy": 0x04}}))).debug is True


@pytest.mark.parametrize(("lie", "check"), sorted(forge.LIES.items()))
def test_one_lie_one_check(lie: str, check: str) -> None:
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"lie": lie}))
    assert error.value.check == check
    assert error.value.hint


CHECKS = {"sev.root", "sev.ask", "sev.cek", "sev.pek", "sev.oca", "sev.pdh", "sev.report"} | {
    "sev.launch-keys", "sev.launch", "sev.launch-policy", "sev.proof",
}  # fmt: skip


def test_keys_and_hashes_since_rome() -> None:
    """RSA of 4096 bits with SHA-384, ECDSA on P-384 with SHA-384: each link holds, and a stranger's does not."""
    forged = forge.make({"large": True, "guest": {}, "launch": {"digests": ["3e" * 32]}, "without": "launch"})
    evidence = sev.parse(forged.evidence)
    assert evidence.ark is not None
    assert evidence.ark.modulus.bit_length() == 4096
    assert (evidence.cek.slots[0].algorithm, evidence.pek.algorithm) == (layout.RSA_SHA384, layout.ECDSA_SHA384)
    assert sev.claims(verify(forged)).measurements == {"launch": "3e" * 32}
    for lie in ("cek", "pek", "report"):
        with pytest.raises(NotGenuine) as error:
            verify(forge.make({"large": True, "lie": lie}))
        assert error.value.check == f"sev.{lie}"


def test_every_check_has_a_lie_and_a_row() -> None:
    assert set(forge.LIES.values()) == CHECKS
    rows = {name for name in table() if name.startswith("sev.")}
    assert rows == CHECKS | {"sev.revocation", "sev.no-oca"}


def test_b04_a_look_alike_is_not_pinned() -> None:
    for anchors in (Anchors(), pins.vendor()):
        with pytest.raises(NotGenuine) as error:
            verify(forge.make({}), anchors=anchors)
        assert error.value.check == "sev.root"


@pytest.mark.parametrize("missing", ["ark", "ask"])
def test_missing_issuers_are_missing_collateral(missing: str) -> None:
    with pytest.raises(MissingCollateral):
        verify(forge.make({"without": missing}))


@pytest.mark.parametrize("missing", ["oca", "pdh"])
def test_owner_and_diffie_hellman_key_may_be_left_out(missing: str) -> None:
    genuine = verify(forge.make({"without": missing}))
    assert sev.claims(genuine).extra["owned"] is (missing != "oca")


def test_without_cek_or_pek_there_is_no_evidence() -> None:
    assert sev.assemble({"pek": b""}) is None


EVIDENCE = forge.make({"guest": {}})
LAUNCHED = forge.make({"report_data": "0b" * 64})


def test_truncation_and_single_byte_changes() -> None:
    data = EVIDENCE.evidence
    assert sev.recognise(data)
    assert sev.unparse(sev.parse(data)) == data
    for end in range(0, len(data), 37):
        with pytest.raises(MalformedEvidence):
            sev.parse(data[:end])
    slack = set()
    for index in range(0, len(data), 11):
        try:
            verify(EVIDENCE, evidence=data[:index] + bytes((data[index] ^ 0x20,)) + data[index + 1 :])
        except (MalformedEvidence, NotGenuine):
            continue
        slack.add(index)
    # only what nobody signs and nobody reads may change: signature slots that no key of the chain uses
    offsets = sev.parse(data).offsets
    for index in slack:
        name = max((name for name in offsets if offsets[name] <= index), key=lambda name: offsets[name])
        assert index - offsets[name] >= layout.SLOTS[0], (index, name)


@given(st.binary(max_size=600))
def test_any_bytes(data: bytes) -> None:
    sev.recognise(data)
    sev.recognise_part(data)
    with pytest.raises(MalformedEvidence):
        sev.parse(data)


def test_show() -> None:
    rows = {name: meaning for name, _, _, meaning in sev.show(sev.parse(EVIDENCE.evidence))}
    assert {name.partition(".")[0] for name in rows} == set(layout.PARTS[:-2])
    assert rows["ask.key_usage"] == "ASK" and rows["ark.modulus"].startswith("RSA-2048")
    assert rows["pek.signature2"] == "ECDSA with SHA-256 by OCA" and rows["cek.signature2"] == "unused"
    assert rows["report.policy"] == "0x5 (nodbg, es, api 0.0)"
    rows = {name: meaning for name, _, _, meaning in sev.show(sev.parse(LAUNCHED.evidence))}
    assert "firmware 0.24 build 15, policy 0x7 (nodbg, noks, es, api 0.0)" in rows["launch"]
    assert rows["proof"].endswith("0b" * 64)


def test_what_is_shown_covers_every_certificate() -> None:
    evidence = sev.parse(EVIDENCE.evidence)
    for name in ("ark", "pek", "report"):
        raw = bytearray(getattr(evidence, name).raw)
        for field, offset, size, _ in sev.show(evidence):
            if field.startswith(f"{name}."):
                start = offset - evidence.offsets[name]
                raw[start : start + size] = bytes(size)
        assert not any(raw)


def sources(forged: Forged) -> dict[str, bytes]:
    evidence = sev.parse(forged.evidence)
    return {name: getattr(evidence, name).raw for name in layout.PARTS[:6]}


def question(forged: Forged, *data: bytes) -> Any:
    from fastness.attestation import verify as ask

    return ask(*data, at=forge.AT, anchors=forged.anchors)


def test_certificates_may_lie_one_after_the_other() -> None:
    """As AMD's KDS (ASK, ARK) and ``sevctl export`` (PDH, PEK, OCA, CEK) write them."""
    forged = forge.make({"large": True})
    parts = sources(forged)
    authority = parts["ask"] + parts["ark"]
    platform = b"".join(parts[name] for name in ("pdh", "pek", "oca", "cek"))
    assert question(forged, authority, platform).genuine is True
    assert question(forged, platform + authority).genuine is True
    assert question(forged, platform + authority + b"more").genuine is not True


def test_of_several_certificates_those_that_belong_together_count() -> None:
    """Roots of every line, a tenant's Diffie-Hellman key and a PEK nobody signed yet lie beside a platform."""
    from fastness.tee.sev import session

    forged, other = forge.make({}), forge.make({"large": True})
    parts, strangers = sources(forged), sources(other)
    unsigned = parts["pek"][: layout.SEV_SIGNED] + 2 * (layout.NO_USAGE.to_bytes(4, "little") + bytes(516))
    godh = session.certificate(forge.ec_key("pdh stranger").public_key())
    beside = (strangers["ark"], strangers["ask"], strangers["oca"], unsigned, godh)
    for order in ((*parts.values(), *beside), (*beside, *parts.values())):
        result = question(forged, *order)
        assert result.genuine is True, result.error
    with pytest.raises(UsageError, match="the certificates of 2 SEV platforms"):
        question(forged, *parts.values(), *strangers.values())
    stranger = forge.make({"lie": "cek"})
    assert question(stranger, *sources(stranger).values(), *beside).genuine is False


@pytest.mark.parametrize("missing", ["cek", "pek"])
def test_a_platform_short_of_a_certificate_is_not_malformed(missing: str) -> None:
    forged = forge.make({})
    result = question(forged, *(data for name, data in sources(forged).items() if name != missing))
    assert (result.genuine, result.error.check) == (None, "sev.cek")


@pytest.mark.parametrize("name", ["oca", "pdh"])
def test_a_certificate_with_a_damaged_head_is_refused_not_left_aside(name: str) -> None:
    forged = forge.make({})
    parts = sources(forged)
    for at in (0, 3, 8, 11):
        data = parts[name]
        altered = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        result = question(forged, *({**parts, name: altered}.values()))
        assert result.genuine is False
        assert isinstance(result.error, MalformedEvidence | NotGenuine) and result.tee == "sev"


def test_altered_copies_beside_a_chain_are_passed_over() -> None:
    forged = forge.make({})
    parts = sources(forged)
    for name, data in parts.items():
        for at in (0, 3, 8, 0x24, 0x40, 0x60, len(data) // 2, len(data) - 600, len(data) - 20, len(data) - 1):
            altered = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
            for order in ((altered, *parts.values()), (*parts.values(), altered)):
                result = question(forged, *order)
                assert result.genuine is True, (name, at, result.error)


def test_a_slot_is_a_signature_or_says_that_it_is_none() -> None:
    parts = sources(forge.make({}))
    data = parts["cek"][: layout.SLOTS[1]] + b"\x01\x10" + parts["cek"][layout.SLOTS[1] + 2 :]
    with pytest.raises(MalformedEvidence, match=r"cek\.signature") as error:
        sev.parse(sev.assemble({**parts, "cek": data}) or b"")
    assert error.value.need == "an algorithm, or an unused slot"
