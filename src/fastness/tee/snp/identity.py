"""ID blocks: what a guest's owner signed before launch, and the firmware held the launch to.

Source: AMD 56860, SEV-SNP Firmware ABI 1.58, SNP_LAUNCH_FINISH (ID block, ID authentication information), chapter 10
(keys and signatures). All integers little endian.

ID block, 96 bytes: launch digest 48 ‖ family id 16 ‖ image id 16 ‖ version 4 (1) ‖ guest SVN 4 ‖ policy 8.
ID authentication, 4096 bytes: algorithm of ID key 4 ‖ of author key 4 (1: ECDSA P-384 with SHA-384; 0: no author) ‖
zeros 56 ‖ signature of the block 512 ‖ ID key 1028 ‖ zeros 60 ‖ author's signature of the ID key 512 ‖ author key 1028
‖ zeros 892. Key: curve 4 (2: P-384) ‖ x 72 ‖ y 72 ‖ zeros 880. Signature: r 72 ‖ s 72 ‖ zeros 368.

A report names both keys by the SHA-384 of their 1028 bytes; block and authentication come beside it, from the owner.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384

from fastness.claims.finding import Finding, Outcome
from fastness.errors import MalformedEvidence, NotGenuine, UsageError
from fastness.pki import keys
from fastness.tee import Collateral
from fastness.tee.snp import layout as at
from fastness.tee.snp.evidence import Evidence
from fastness.wire.cursor import Cursor

BLOCK, AUTHENTICATION = "snp-id-block", "snp-id-auth"
"""Kinds of documents."""

BLOCK_SIZE, AUTHENTICATION_SIZE, KEY_SIZE, SIGNATURE_SIZE = 96, 4096, 0x404, 512
MAX_DOCUMENTS = 8
_BLOCK = struct.Struct("<48s16s16sIIQ")
_P384, _COORDINATE = 2, 72


@dataclass(frozen=True, slots=True)
class IdBlock:
    """What the owner signed: launch digest 48 bytes, ids 16 bytes each, security version, guest policy."""

    raw: bytes
    launch_digest: bytes
    family_id: bytes
    image_id: bytes
    guest_svn: int
    policy: int


@dataclass(frozen=True, slots=True)
class Signed:
    """A key as the firmware hashes it (1028 bytes) and a signature (r, s) that goes with it."""

    key: bytes
    r: int
    s: int

    @property
    def digest(self) -> bytes:
        """SHA-384 of the key: what a report says."""
        return hashlib.sha384(self.key).digest()


@dataclass(frozen=True, slots=True)
class IdAuth:
    """Who signed: the ID key with its signature of the block, and the author key with its signature of the ID key."""

    raw: bytes
    identity: Signed
    author: Signed | None


def block(data: bytes) -> IdBlock:
    """An ID block.

    Raises:
        MalformedEvidence: a wrong size or version, reserved policy bits.
    """
    if len(data) != BLOCK_SIZE:
        raise MalformedEvidence("id block", 0, f"{BLOCK_SIZE} bytes", len(data))
    digest, family, image, version, svn, policy = _BLOCK.unpack(data)
    if version != 1:
        raise MalformedEvidence("id block.version", 0x50, 1, version)
    if not policy & at.POLICY_ONE or policy & at.POLICY_RESERVED:
        raise MalformedEvidence("id block.policy", 0x58, "bit 17 set and bits 26 to 63 clear", f"0x{policy:x}")
    return IdBlock(data, digest, family, image, svn, policy)


def authentication(data: bytes) -> IdAuth:
    """ID authentication information.

    Raises:
        MalformedEvidence: a wrong size, algorithm or curve, reserved bytes that are not zero, a point off its curve.
    """
    if len(data) != AUTHENTICATION_SIZE:
        raise MalformedEvidence("id auth", 0, f"{AUTHENTICATION_SIZE} bytes", len(data))
    read = Cursor(data)
    algorithm, author = read.little(4, "id auth.id_key_algo"), read.little(4, "id auth.author_key_algo")
    if algorithm != 1 or author not in (0, 1):
        raise MalformedEvidence("id auth.key_algo", 0, "1 (ECDSA P-384); 1 or 0 for the author", (algorithm, author))
    read.zeros(56, "id auth.reserved")
    first = _signed(read, "id")
    read.zeros(60, "id auth.reserved")
    second = _signed(read, "author") if author else None
    read.zeros(read.remaining, "id auth.reserved")
    return IdAuth(data, first, second)


def _signed(read: Cursor, name: str) -> Signed:
    r, s = (_number(read, f"{name} signature.{part}") for part in "rs")
    read.zeros(SIGNATURE_SIZE - 2 * _COORDINATE, f"{name} signature.reserved")
    start = read.position
    found = Signed(read.take(KEY_SIZE, f"{name} key"), r, s)
    public(found.key, f"{name} key", start)
    return found


def _number(read: Cursor, field: str) -> int:
    value = read.little(48, field)
    read.zeros(_COORDINATE - 48, field)
    return value


def public(data: bytes, field: str = "key", offset: int = 0) -> ec.EllipticCurvePublicKey:
    """The key in 1028 bytes of AMD's form."""
    read = Cursor(data, offset)
    curve = read.little(4, f"{field}.curve")
    if curve != _P384:
        raise MalformedEvidence(f"{field}.curve", offset, "2 (P-384)", curve)
    point = b"".join(_number(read, f"{field}.{axis}").to_bytes(48, "big") for axis in "xy")
    read.zeros(read.remaining, f"{field}.reserved")
    return keys.ec_point(ec.SECP384R1, point, field, offset)


def key_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """A P-384 key in AMD's form, 1028 bytes; its SHA-384 is what a report calls the key's digest."""
    if key.curve.name != "secp384r1":
        raise UsageError("an ID or author key is on P-384", hint="openssl ecparam -name secp384r1 -genkey")
    numbers = key.public_numbers()
    coordinates = (value.to_bytes(_COORDINATE, "little") for value in (numbers.x, numbers.y))
    return (_P384.to_bytes(4, "little") + b"".join(coordinates)).ljust(KEY_SIZE, b"\0")


def make_id_block(
    launch_digest: bytes, policy: int, key: ec.EllipticCurvePrivateKey, *,
    author: ec.EllipticCurvePrivateKey | None = None, family_id: bytes = bytes(16),
    image_id: bytes = bytes(16), guest_svn: int = 0,
) -> tuple[bytes, bytes]:  # fmt: skip
    """ID block and ID authentication, which a launcher gives to the firmware (QEMU: ``id-block=``, ``id-auth=``).

    Args:
        launch_digest: 48 bytes, as :func:`fastness.image.measure.snp.launch_digest` computes it.
        policy: guest policy; the firmware refuses a launch with another.
        key: the owner's ID key, P-384.
        author: a longer-lived key that vouches for the ID key (QEMU: ``author-key-enabled=on``).
        family_id, image_id: 16 bytes each, the owner's own; guest_svn: 0 to 2³² - 1.

    Raises:
        UsageError: a wrong size, a policy no firmware takes, a key on another curve.
    """
    if len(launch_digest) != 48 or len(family_id) != 16 or len(image_id) != 16 or guest_svn >> 32:
        raise UsageError("an ID block holds 48 bytes of digest, 16 each of family and image id, 32 bits of version")
    if not policy & at.POLICY_ONE or policy & at.POLICY_RESERVED:
        raise UsageError(f"no SNP guest policy: 0x{policy:x}", hint="bit 17 is set, bits 26 to 63 are clear: 0x30000")
    signed = _BLOCK.pack(launch_digest, family_id, image_id, 1, guest_svn, policy)
    own = key_bytes(key.public_key())
    parts = [(1).to_bytes(4, "little"), int(author is not None).to_bytes(4, "little"), bytes(56)]
    parts += [_sign(key, signed), own, bytes(60)]
    if author is not None:
        parts += [_sign(author, own), key_bytes(author.public_key())]
    return signed, b"".join(parts).ljust(AUTHENTICATION_SIZE, b"\0")


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(SHA384())))
    numbers = r.to_bytes(_COORDINATE, "little") + s.to_bytes(_COORDINATE, "little")
    return numbers.ljust(SIGNATURE_SIZE, b"\0")


def verify(evidence: Evidence, collateral: Collateral) -> list[Finding]:
    """The finding ``snp.id-block``; none where no ID block came with the report.

    Of several blocks and authentications, one pair must hold.

    Raises:
        NotGenuine: ``snp.id-key``, ``snp.id-signature``, ``snp.author-key``, ``snp.id-block``: none does.
    """
    blocks, proofs = collateral.of(BLOCK)[:MAX_DOCUMENTS], collateral.of(AUTHENTICATION)[:MAX_DOCUMENTS]
    if not blocks and not proofs:
        return []
    if not blocks or not proofs:
        half = Finding(
            "snp.id-block",
            Outcome.UNKNOWN,
            expected="an ID block and its authentication",
            actual="one without the other",
            hint="supply both, or neither",
        )
        return [half]
    failures = [_try(evidence, item.data, proof.data) for proof in proofs for item in blocks]
    if None in failures:
        return [Finding("snp.id-block", Outcome.HELD, actual=f"signed by key {evidence.id_key_digest.hex()}")]
    raise next(error for error in failures if error is not None)


def _try(evidence: Evidence, told: bytes, proof: bytes) -> NotGenuine | None:
    """Why one pair does not hold for this report; None where it does."""
    try:
        _holds(evidence, block(told), authentication(proof))
    except NotGenuine as error:
        return error
    except MalformedEvidence as error:
        return NotGenuine("snp.id-block", f"not an ID block: {error.what}", where=error.where, hint=error.hint)
    return None


def _holds(evidence: Evidence, told: IdBlock, proof: IdAuth) -> None:
    if proof.identity.digest != evidence.id_key_digest:
        raise _refused("snp.id-key", "the ID key is not the one in the report", "id_key_digest at byte 0xe0")
    if not _verified(proof.identity.key, proof.identity, told.raw):
        raise _refused("snp.id-signature", "the ID block is not signed by its key", "id block")
    _author(evidence, proof)
    for name in ("policy", "family_id", "image_id", "guest_svn"):
        if getattr(told, name) != getattr(evidence, name):
            place = at.FIELDS[name]
            raise _refused("snp.id-block", f"{name} is not the one in the report", f"{name} at byte 0x{place[0]:x}")
    if told.launch_digest != evidence.measurement:
        raise _refused("snp.id-block", "the launch digest is not the one in the report", "measurement at byte 0x90")


def _author(evidence: Evidence, proof: IdAuth) -> None:
    if not evidence.author_key_enabled:
        return
    author = proof.author
    if author is None or author.digest != evidence.author_key_digest:
        raise _refused(
            "snp.author-key", "the author key is not the one in the report", "author_key_digest at byte 0x110"
        )
    if not _verified(author.key, author, proof.identity.key):
        raise _refused("snp.author-key", "the ID key is not signed by the author key", "id auth")


def _verified(key: bytes, signature: Signed, data: bytes) -> bool:
    digest = hashlib.sha384(data).digest()
    return keys.verify_ecdsa(public(key), signature.r, signature.s, digest, SHA384())


def _refused(check: str, what: str, where: str) -> NotGenuine:
    return NotGenuine(
        check, what, where=where, hint="the ID block beside the report is of another guest, key or version"
    )
