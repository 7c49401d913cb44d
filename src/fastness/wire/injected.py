"""What a host injects into a SEV guest before it runs, and the words by which the guest proves that it was given them.

Table (edk2 ``OvmfPkg/AmdSev/SecretDxe`` and Linux ``drivers/virt/coco/efi_secret``): GUID of the table, its size, then
entries of GUID, size and data; sizes are 4 bytes little endian and count GUID and themselves. A GUID is its 16 bytes as
UEFI writes them.

Proof, 118 bytes: ``fastness/sev-proof/v1`` and a zero (22) ‖ report_data (64) ‖ HMAC-SHA-256 with the injected key over
all before it (32). Tenant and guest both know this format; nobody else has the key.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastness.errors import MalformedEvidence, UsageError
from fastness.wire.cursor import Cursor

TABLE_NAME = "1e74f542-71dd-4d66-963e-ef4287ff173b"
KEEP_NAME = "5dbe1a2c-7c0e-4a55-9c44-6f6b1e3b0f57"
"""The entry a keep looks for: the key by which it proves that it is the guest that was measured."""

MAX_TABLE = 3072
"""Size of the page part that edk2's AmdSevX64 sets aside (``PcdSevLaunchSecretSize``)."""

KEY_SIZE = 32
REPORT_DATA_SIZE = 64
LABEL = b"fastness/sev-proof/v1\0"
PROOF_SIZE = len(LABEL) + REPORT_DATA_SIZE + 32
_HEAD = 20


def guid(text: str) -> bytes:
    """The 16 bytes of a GUID: its first three groups little endian (UEFI 2.10, appendix A)."""
    first, second, third, *rest = text.split("-")
    return b"".join(bytes.fromhex(item)[::-1] for item in (first, second, third)) + bytes.fromhex("".join(rest))


TABLE, KEEP = guid(TABLE_NAME), guid(KEEP_NAME)


def table(entries: Mapping[bytes, bytes]) -> bytes:
    """The table of ``entries`` by GUID, padded with zeros to 16 bytes as the firmware wants.

    Raises:
        UsageError: no entry, or more than the guest's firmware has room for.
    """
    body = b"".join(name + (_HEAD + len(data)).to_bytes(4, "little") + data for name, data in entries.items())
    whole = TABLE + (_HEAD + len(body)).to_bytes(4, "little") + body
    whole += bytes(-len(whole) % 16)
    if not entries or len(whole) > MAX_TABLE:
        raise UsageError(f"secrets of {len(whole)} bytes", hint=f"at least one, {MAX_TABLE} bytes in all")
    return whole


def entries(data: bytes) -> dict[bytes, bytes]:
    """The entries of a table by GUID.

    Raises:
        MalformedEvidence: another GUID, a size that lies, an entry twice, padding that is not zero.
    """
    read = Cursor(data)
    if read.take(16, "secrets.guid") != TABLE:
        raise MalformedEvidence("secrets.guid", 0, TABLE_NAME, "another")
    size = read.little(4, "secrets.size")
    if not _HEAD <= size <= len(data):
        raise MalformedEvidence("secrets.size", 16, f"{_HEAD} to {len(data)}", size)
    found: dict[bytes, bytes] = {}
    while read.position < size:
        start = read.offset
        name, length = read.take(16, "secret.guid"), read.little(4, "secret.size")
        if not _HEAD <= length <= size - start or name in found:
            raise MalformedEvidence("secret.size", start + 16, f"one entry of {_HEAD} to {size - start} bytes", length)
        found[name] = read.take(length - _HEAD, "secret.data")
    read.zeros(read.remaining, "secrets.padding")
    return found


def prove(key: bytes, report_data: bytes) -> bytes:
    """The proof over ``report_data`` (64 bytes) by whoever has ``key`` (32 bytes)."""
    import hmac

    said = LABEL + report_data
    return said + hmac.digest(key, said, "sha256")


def proves(key: bytes, proof: bytes) -> bool:
    """Whether ``proof`` is by whoever has ``key``."""
    import hmac

    return hmac.compare_digest(prove(key, proof[len(LABEL) : -32]), proof)


def recognise(data: bytes) -> bool:
    """Whether ``data`` has the form of a proof."""
    return len(data) == PROOF_SIZE and data.startswith(LABEL)
