"""ID blocks beside SNP reports: made as an owner makes them, judged against the report, and told apart by content."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

import firmware
from fastness import verify as ask
from fastness.claims.finding import Outcome
from fastness.collateral.gather import gather
from fastness.errors import MalformedEvidence, NotGenuine, UsageError
from fastness.forge import snp as forge
from fastness.forge.model import Forged
from fastness.image.measure import Machine, Parts
from fastness.image.measure import snp as measure
from fastness.tee import Collateral, Document, snp
from fastness.tee.snp import identity

KEY, AUTHOR = forge.owner_key("id"), forge.owner_key("author")
NAMED = {"family_id": "fa" * 16, "image_id": "1d" * 16, "guest_svn": 7, "author": True}
BLOCK, PROOF = identity.make_id_block(
    bytes(range(48)), 0x30000, KEY, author=AUTHOR, family_id=b"f" * 16, image_id=b"i" * 16, guest_svn=9
)


def verify(forged: Forged, **changed: Any) -> Any:
    given_ = replace(forged, **changed)
    return snp.verify(snp.parse(given_.evidence), given_.collateral, given_.anchors, at=given_.at)


def found(genuine: Any) -> list[Outcome]:
    return [item.outcome for item in genuine.findings if item.check == "snp.id-block"]


def documents(*documents: Document) -> Collateral:
    return Collateral(documents=documents)


@pytest.mark.parametrize("named", [{}, {"author": True}, NAMED])
@pytest.mark.parametrize("generation", ["milan", "turin"])
def test_a_guest_launched_with_an_id_block(named: dict[str, Any], generation: str) -> None:
    genuine = verify(forge.make({"id_block": named, "generation": generation}))
    assert found(genuine) == [Outcome.HELD]
    told = snp.claims(genuine)
    assert told.extra["id_block"] is True
    assert told.measurements["id_key_digest"] == hashlib.sha384(identity.key_bytes(KEY.public_key())).hexdigest()
    assert ("author_key_digest" in told.measurements) is bool(named.get("author"))
    assert told.extra["guest_svn"] == named.get("guest_svn", 0)


def test_a_report_alone_says_nothing_of_an_id_block() -> None:
    forged = forge.make({"id_block": {}})
    genuine = verify(forged, collateral=forged.collateral._replace(documents=()))
    assert found(genuine) == []
    assert "id_block" not in snp.claims(genuine).extra


def test_an_author_that_the_report_does_not_name_counts_for_nothing() -> None:
    forged = forge.make({"id_block": {}})
    policy = int.from_bytes(forged.evidence[8:16], "little")
    beside = identity.make_id_block(bytes.fromhex("3e" * 48), policy, KEY, author=AUTHOR)
    made = documents(Document(identity.BLOCK, beside[0]), Document(identity.AUTHENTICATION, beside[1]))
    genuine = verify(forged, collateral=forged.collateral._replace(documents=()) + made)
    assert found(genuine) == [Outcome.HELD]
    assert "author_key_digest" not in snp.claims(genuine).measurements


def test_a_named_author_must_be_there() -> None:
    forged = forge.make({"id_block": {"author": True}})
    block = forged.collateral.documents[0]
    alone = identity.make_id_block(bytes.fromhex("3e" * 48), identity.block(block.data).policy, KEY)
    made = documents(block, Document(identity.AUTHENTICATION, alone[1]))
    with pytest.raises(NotGenuine) as error:
        verify(forged, collateral=forged.collateral._replace(documents=()) + made)
    assert error.value.check in ("snp.author-key", "snp.id-signature")


def test_a_report_launched_without_one_is_not_of_the_block_beside_it() -> None:
    forged, other = forge.make({}), forge.make({"id_block": {}})
    with pytest.raises(NotGenuine) as error:
        verify(forged, collateral=forged.collateral + documents(*other.collateral.documents))
    assert error.value.check == "snp.id-key"


def test_one_pair_of_several_must_hold() -> None:
    forged = forge.make({"id_block": {}})
    other = documents(Document(identity.BLOCK, BLOCK), Document(identity.AUTHENTICATION, PROOF))
    assert found(verify(forged, collateral=other + forged.collateral)) == [Outcome.HELD]
    assert found(verify(forged, collateral=forged.collateral + other)) == [Outcome.HELD]


@pytest.mark.parametrize("kept", [0, 1])
def test_half_an_id_block_is_not_an_answer(kept: int) -> None:
    forged = forge.make({"id_block": {}})
    genuine = verify(forged, collateral=forged.collateral._replace(documents=(forged.collateral.documents[kept],)))
    assert found(genuine) == [Outcome.UNKNOWN]
    assert "id_block" not in snp.claims(genuine).extra


def test_damaged_blocks_are_refused() -> None:
    forged = forge.make({"id_block": {}})
    block, proof = forged.collateral.documents
    for lie in (block._replace(data=block.data[:-1]), proof._replace(data=proof.data[:-1] + b"\1")):
        given_ = tuple(lie if item.kind == lie.kind else item for item in (block, proof))
        with pytest.raises(NotGenuine) as error:
            verify(forged, collateral=forged.collateral._replace(documents=given_))
        assert error.value.check == "snp.id-block"


@pytest.mark.parametrize("wrapping", [bytes, base64.b64encode, lambda data: data.hex().encode()])
def test_blocks_are_told_apart_by_content(wrapping: Any, tmp_path: Path) -> None:
    forged = forge.make({"id_block": NAMED})
    for index, item in enumerate(forged.collateral.documents):
        (tmp_path / str(index)).write_bytes(wrapping(item.data))
    (tmp_path / "report").write_bytes(forged.evidence)
    for index, certificate in enumerate(forged.collateral.certificates):
        (tmp_path / f"certificate-{index}").write_bytes(certificate.raw)
    assert {item.kind for item in gather([str(tmp_path)]).collateral.documents} == {
        identity.BLOCK,
        identity.AUTHENTICATION,
    }
    result = ask(str(tmp_path), at=forged.at, anchors=forged.anchors)
    assert result.genuine
    assert result.to_json()["claims"]["snp"]["id_block"] is True


def test_blocks_say_the_same_again() -> None:
    told, proof = identity.block(BLOCK), identity.authentication(PROOF)
    assert (told.launch_digest, told.policy, told.guest_svn) == (bytes(range(48)), 0x30000, 9)
    assert (told.family_id, told.image_id) == (b"f" * 16, b"i" * 16)
    assert proof.identity.key == identity.key_bytes(KEY.public_key())
    assert proof.author is not None
    assert proof.author.digest == hashlib.sha384(identity.key_bytes(AUTHOR.public_key())).digest()
    assert identity.authentication(identity.make_id_block(bytes(48), 0x30000, KEY)[1]).author is None


@pytest.mark.parametrize(("offset", "value"), [(0x50, 2), (0x5A, 0), (0x5B, 4), (0x5F, 1)])
def test_blocks_are_read_strictly(offset: int, value: int) -> None:
    with pytest.raises(MalformedEvidence):
        identity.block(BLOCK[:offset] + bytes((value,)) + BLOCK[offset + 1 :])


@pytest.mark.parametrize(
    "offset", [0, 4, 8, 0x3F, 0x70, 0xB8, 0xD0, 0x240, 0x250, 0x280, 0x2E0, 0x650, 0x6C0, 0x890, 0xFFF]
)
def test_proofs_are_read_strictly(offset: int) -> None:
    with pytest.raises(MalformedEvidence):
        identity.authentication(PROOF[:offset] + bytes((PROOF[offset] ^ 2,)) + PROOF[offset + 1 :])


@pytest.mark.parametrize("data", [b"", PROOF[:-1], PROOF + b"\0"])
def test_proofs_have_one_size(data: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        identity.authentication(data)


@given(st.binary(max_size=128))
def test_any_bytes(data: bytes) -> None:
    for read, whole in (
        (identity.block, data),
        (identity.authentication, data),
        (identity.authentication, (PROOF[: 0x240 + len(data) % 9] + data).ljust(4096, b"\0")),
    ):
        try:
            read(whole)
        except MalformedEvidence:
            continue


@pytest.mark.parametrize(
    "change",
    [
        {"launch_digest": bytes(47)}, {"policy": 0}, {"policy": 1 << 26 | 1 << 17}, {"policy": -1},
        {"policy": -1 << 64 | 0x30000}, {"policy": 1 << 64 | 0x30000},
        {"family_id": b""}, {"image_id": bytes(17)}, {"guest_svn": 1 << 32}, {"guest_svn": -1},
        {"key": ec.generate_private_key(ec.SECP256R1())}, {"author": ec.generate_private_key(ec.SECP256R1())},
    ],
)  # fmt: skip
def test_what_no_firmware_takes_is_not_made(change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"launch_digest": bytes(48), "policy": 0x30000, "key": KEY}
    with pytest.raises(UsageError):
        identity.make_id_block(**(arguments | change))


def test_a_measured_image_and_its_block_go_together() -> None:
    """From firmware and image to launch digest, ID block and report: what an owner does."""
    (row,) = measure.rows(Parts(b"kernel", b"initrd", ""), Machine(firmware.make(), 2, "EPYC-Genoa"))
    forged = forge.make({"id_block": {}, "measurement": row.measurements["launch"][0]})
    assert found(verify(forged)) == [Outcome.HELD]


def test_the_peers_blocks_hold(tmp_path: Path) -> None:
    theirs = pytest.importorskip("sevsnpmeasure.id_block", reason="sev-snp-measure is not installed")
    paths = []
    for name, key in (("id", KEY), ("author", AUTHOR)):
        path = tmp_path / name
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        paths.append(str(path))
    text = theirs.snp_calc_id_block(bytes(range(48)), *paths)
    fields = {name: base64.b64decode(value) for name, value in _fields(text)}
    ours = identity.make_id_block(bytes(range(48)), 0x30000, KEY, author=AUTHOR)
    assert fields["id-block"] == ours[0]
    proof = identity.authentication(fields["id-auth"])
    assert identity._verified(proof.identity.key, proof.identity, ours[0])
    assert proof.identity.digest == fields["id_key_hash"]
    assert proof.author is not None
    assert proof.author.digest == fields["author_key"]
    assert identity._verified(proof.author.key, proof.author, proof.identity.key)


def _fields(text: str) -> list[tuple[str, str]]:
    rows = [row for line in text.splitlines() for row in line.split(",")]
    return [(name.strip(), value.strip()) for row in rows for name, value in [row.replace(": ", "=", 1).split("=", 1)]]
