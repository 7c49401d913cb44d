"""Commands of a TPM 2.0 in bytes: the few that a keep needs (TCG TPM 2.0 library specification, part 3). Big endian.

A :data:`Transmit` sends one command and gives its response; which TPM is behind it is the caller's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fastness.devices.failure import DeviceError
from fastness.errors import MalformedEvidence
from fastness.wire.cursor import Cursor

MAX_RESPONSE = 4096
MAX_NV_READ = 1024
RETRIES = 4
"""TPM_RC_RETRY asks for the same command again (part 1, section 30.5)."""

SESSIONS, NO_SESSIONS = 0x8002, 0x8001
ENDORSEMENT, OWNER, PASSWORD, NULL_HANDLE = 0x4000000B, 0x40000001, 0x40000009, 0x40000007
SHA256, ECC, ECDSA, RSA, NULL, P256, AES, CFB = 0x000B, 0x0023, 0x0018, 0x0001, 0x0010, 0x0003, 0x0006, 0x0043

_CREATE_PRIMARY, _QUOTE, _PCR_READ, _PCR_EXTEND, _FLUSH = 0x131, 0x158, 0x17E, 0x182, 0x165
_NV_READ_PUBLIC, _NV_READ, _READ_PUBLIC = 0x169, 0x14E, 0x173
_START_SESSION, _POLICY_SECRET, _ACTIVATE = 0x176, 0x151, 0x147
_RETRY = 0x922
_POLICY_SESSION = 1

Transmit = Callable[[bytes], bytes]


class Refused(DeviceError):
    """The TPM answered a command with an error; ``code`` is TPM_RC."""

    def __init__(self, command: int, code: int) -> None:
        super().__init__(f"the TPM refused command 0x{command:x} with 0x{code:x}")
        self.code = code


def sized(data: bytes) -> bytes:
    """A TPM2B: size in two bytes, then the bytes."""
    return struct.pack(">H", len(data)) + data


def selection(indices: Iterable[int]) -> bytes:
    """TPML_PCR_SELECTION of registers 0 to 23 in the SHA-256 bank."""
    bits = sum(1 << index for index in indices)
    return struct.pack(">IHB", 1, SHA256, 3) + bits.to_bytes(3, "little")


def _authorised(session: int) -> bytes:
    """TPMS_AUTH_COMMAND of a session or of an empty password: no nonce, session continues, no HMAC."""
    return struct.pack(">IHBH", session, 0, 1, 0)


class Tpm(NamedTuple):
    """A TPM behind ``send``. Every method raises :class:`DeviceError` for an error or an answer out of form."""

    send: Transmit

    def create_primary(self, template: bytes) -> tuple[int, bytes]:
        """(handle, TPMT_PUBLIC) of the key that ``template`` gives under the endorsement seed: the same each time."""
        body = struct.pack(">HHH", 4, 0, 0) + sized(template) + struct.pack(">HI", 0, 0)
        cursor = self._run(_CREATE_PRIMARY, struct.pack(">I", ENDORSEMENT), body, (PASSWORD,), handle=True)
        handle = cursor.big(4, "objectHandle")
        cursor.big(4, "parameterSize")
        return handle, cursor.sized(2, "outPublic", limit=1024, order="big")

    def quote(self, key: int, qualifying: bytes, indices: Iterable[int]) -> tuple[bytes, bytes]:
        """(TPMS_ATTEST, TPMT_SIGNATURE) by ``key`` over registers of the SHA-256 bank."""
        body = sized(qualifying) + struct.pack(">H", NULL) + selection(indices)
        cursor = self._run(_QUOTE, struct.pack(">I", key), body, (PASSWORD,))
        size = cursor.big(4, "parameterSize")
        start = cursor.position
        attest = cursor.sized(2, "quoted", limit=2048, order="big")
        return attest, cursor.take(size - (cursor.position - start), "signature")

    def registers(self, indices: Iterable[int]) -> dict[int, bytes]:
        """Registers of the SHA-256 bank by number, as many at once as the TPM gives: eight (TPML_DIGEST)."""
        left, found = sorted(indices), dict[int, bytes]()
        while left:
            cursor = self._run(_PCR_READ, b"", selection(left))
            cursor.big(4, "pcrUpdateCounter")
            told = cursor.take(len(selection(())), "pcrSelectionOut")
            given = [index for index in left if int.from_bytes(told[-3:], "little") >> index & 1]
            if not given or told != selection(given) or cursor.big(4, "pcrValues.count") != len(given):
                raise DeviceError(f"the TPM has no SHA-256 bank for PCR {left[0]}")
            found |= {index: cursor.sized(2, "pcrValues.digest", limit=64, order="big") for index in given}
            left = [index for index in left if index not in found]
        return found

    def extend(self, index: int, digest: bytes) -> None:
        """Extends one register of the SHA-256 bank by 32 bytes of ``digest``."""
        body = struct.pack(">IH", 1, SHA256) + digest
        self._run(_PCR_EXTEND, struct.pack(">I", index), body, (PASSWORD,))

    def public(self, handle: int) -> bytes:
        """TPMT_PUBLIC of a key that is loaded or persistent."""
        return self._run(_READ_PUBLIC, struct.pack(">I", handle), b"").sized(2, "outPublic", limit=1024, order="big")

    def read_index(self, index: int, limit: int) -> bytes:
        """The whole of an NV index that anybody may read with the owner's empty password."""
        cursor = self._run(_NV_READ_PUBLIC, struct.pack(">I", index), b"")
        public = Cursor(cursor.sized(2, "nvPublic", limit=256, order="big"))
        public.take(10, "nvPublic.index, name, attributes")
        public.sized(2, "nvPublic.authPolicy", limit=64, order="big")
        size = public.big(2, "nvPublic.dataSize")
        if not 0 < size <= limit:
            raise DeviceError(f"NV index 0x{index:x} holds {size} bytes, limit {limit}")
        found = bytearray()
        while len(found) < size:
            body = struct.pack(">HH", min(MAX_NV_READ, size - len(found)), len(found))
            cursor = self._run(_NV_READ, struct.pack(">II", OWNER, index), body, (PASSWORD,))
            cursor.big(4, "parameterSize")
            part = cursor.sized(2, "data", limit=MAX_NV_READ, order="big")
            if not part:
                raise DeviceError(f"NV index 0x{index:x} ends early")
            found += part
        return bytes(found)

    def activate(self, key: int, endorsement: int, credential: bytes, secret: bytes) -> bytes:
        """What TPM2_ActivateCredential opens, authorised by PolicySecret(endorsement), the default EK policy."""
        begin = sized(bytes(16)) + sized(b"") + struct.pack(">BHH", _POLICY_SESSION, NULL, SHA256)
        session = self._run(_START_SESSION, struct.pack(">II", NULL_HANDLE, NULL_HANDLE), begin, handle=True).big(
            4, "sessionHandle"
        )
        try:
            self._run(_POLICY_SECRET, struct.pack(">II", ENDORSEMENT, session), sized(b"") * 3 + bytes(4), (PASSWORD,))
            handles = struct.pack(">II", key, endorsement)
            cursor = self._run(_ACTIVATE, handles, credential + secret, (PASSWORD, session))
        finally:
            self.flush(session)
        cursor.big(4, "parameterSize")
        return cursor.sized(2, "certInfo", limit=64, order="big")

    def flush(self, handle: int) -> None:
        """Forgets a loaded key or session."""
        self.send(struct.pack(">HIII", NO_SESSIONS, 14, _FLUSH, handle))

    def _run(
        self, code: int, handles: bytes, body: bytes, sessions: tuple[int, ...] = (), *, handle: bool = False
    ) -> Cursor:
        """The response after its head; ``handle`` tells that a handle comes before the parameters."""
        area = b"".join(map(_authorised, sessions))
        payload = handles + (struct.pack(">I", len(area)) + area if sessions else b"") + body
        head = struct.pack(">HII", SESSIONS if sessions else NO_SESSIONS, 10 + len(payload), code)
        for _ in range(RETRIES):
            data = self.send(head + payload)
            try:
                cursor = Cursor(data)
                cursor.big(2, "tag")
                size, result = cursor.big(4, "responseSize"), cursor.big(4, "responseCode")
            except MalformedEvidence as error:
                raise DeviceError(f"the TPM answered out of form: {error.what}") from None
            if result != _RETRY:
                break
        if result != 0:
            raise Refused(code, result)
        if size != len(data):
            raise DeviceError(f"the TPM answered with {len(data)} of {size} bytes")
        return cursor
