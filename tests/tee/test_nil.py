"""nil: simulated evidence is genuine only where its root is named, and marked wherever it shows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from fastness.claims.finding import Outcome, table
from fastness.claims.genuine import Genuine
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.host.software_root import SoftwareRoot, load
from fastness.pki.anchors import Anchors, from_key, vendor
from fastness.tee import Collateral, nil
from fastness.wire import x509

AT = datetime(2026, 11, 1, tzinfo=UTC)
ROOT = SoftwareRoot(ec.generate_private_key(ec.SECP256R1()), b"\x01" * 16)
NAMED = Anchors((from_key("nil", "test", x509.parse_public_key(ROOT.public_key), simulated=True),))
EVIDENCE = ROOT.sign(b"\x02" * 64, b"\x03" * 48, b"\x04" * 48, debug=False)


def verify(data: bytes = EVIDENCE, anchors: Anchors = NAMED) -> Genuine[nil.evidence.Evidence]:
    return nil.verify(nil.parse(data), Collateral(), anchors, at=AT)


def test_genuine_where_named_and_marked() -> None:
    genuine = verify()
    assert genuine.simulated
    assert [(item.check, item.outcome) for item in genuine.findings] == [("nil.simulated", Outcome.NOTE)]
    claims = nil.claims(genuine)
    assert claims.simulated
    assert claims.tree()["simulated"] is True
    assert claims.report_data == "02" * 64
    assert claims.measurements == {"launch": "03" * 48, "runtime": "04" * 48}
    assert "SIMULATED" in claims.not_checked[0]
    for span in claims.spans.values():
        assert EVIDENCE[span.offset : span.offset + span.size] in (
            b"\x02" * 64,
            b"\x03" * 48,
            b"\x04" * 48,
            b"\x01" * 16,
        )


def test_not_genuine_without_its_root() -> None:
    for anchors in (Anchors(), vendor()):
        with pytest.raises(NotGenuine) as error:
            verify(anchors=anchors)
        assert error.value.check == "nil.anchor"
        assert error.value.hint
    other = SoftwareRoot(ec.generate_private_key(ec.SECP256R1()), bytes(16))
    with pytest.raises(NotGenuine) as error:
        verify(other.sign(b"\x02" * 64, b"\x03" * 48, b"\x04" * 48, debug=False))
    assert error.value.check == "nil.signature"


def test_every_byte_counts() -> None:
    assert nil.recognise(EVIDENCE)
    assert nil.unparse(nil.parse(EVIDENCE)) == EVIDENCE
    for end in range(len(EVIDENCE)):
        with pytest.raises(MalformedEvidence):
            nil.parse(EVIDENCE[:end])
    for index in range(len(EVIDENCE)):
        for bit in (1, 0x80):
            changed = EVIDENCE[:index] + bytes((EVIDENCE[index] ^ bit,)) + EVIDENCE[index + 1 :]
            with pytest.raises((MalformedEvidence, NotGenuine)):
                verify(changed)


@given(st.binary(max_size=1100))
def test_any_bytes(data: bytes) -> None:
    nil.recognise(data)
    with pytest.raises(MalformedEvidence):
        nil.parse(data)


def test_genuine_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match="never by hand"):
        Genuine(object(), None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        verify().x = 1  # type: ignore[attr-defined]


def test_the_root_is_made_once_and_kept_private(tmp_path) -> None:  # type: ignore[no-untyped-def]
    first, again = load(tmp_path / "nil"), load(tmp_path / "nil")
    assert first.public_key == again.public_key
    assert first.instance == again.instance
    assert (tmp_path / "nil" / "root.key").stat().st_mode & 0o777 == 0o600
    assert sorted(item.name for item in (tmp_path / "nil").iterdir()) == ["root.key", "root.pub"]


def test_checks_have_rows() -> None:
    assert {"nil.anchor", "nil.signature", "nil.simulated"} <= table().keys()
    assert all(row.short and row.long and row.hint and row.spec for row in table().values())
