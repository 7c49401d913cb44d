"""A real software TPM, spoken to in raw commands (TPM 2.0 Part 3): the few that attestation needs."""

from __future__ import annotations

import hashlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

OWNER, ENDORSEMENT, PASSWORD, NULL = 0x40000001, 0x4000000B, 0x40000009, 0x40000007
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def attributes(*bits: int) -> bytes:
    return struct.pack(">I", sum(1 << bit for bit in bits))


AK_RSA = (
    struct.pack(">HH", 0x0001, 0x000B) + attributes(1, 4, 5, 6, 16, 18) + sized(b"")
    + struct.pack(">HHHHI", 0x0010, 0x0014, 0x000B, 2048, 0) + sized(b"")
)  # fmt: skip
AK_PSS = AK_RSA.replace(struct.pack(">HHH", 0x0010, 0x0014, 0x000B), struct.pack(">HHH", 0x0010, 0x0016, 0x000C))
AK_ECC = (
    struct.pack(">HH", 0x0023, 0x000B) + attributes(1, 4, 5, 6, 16, 18) + sized(b"")
    + struct.pack(">HHHHH", 0x0010, 0x0018, 0x000B, 0x0003, 0x0010) + sized(b"") * 2
)  # fmt: skip
LOOSE = AK_ECC.replace(attributes(1, 4, 5, 6, 16, 18), attributes(1, 4, 5, 6, 18))
EK_RSA = (
    struct.pack(">HH", 0x0001, 0x000B) + attributes(1, 4, 5, 7, 16, 17) + sized(EK_POLICY)
    + struct.pack(">HHHHHI", 0x0006, 128, 0x0043, 0x0010, 2048, 0) + sized(bytes(256))
)  # fmt: skip
EK_ECC = (
    struct.pack(">HH", 0x0023, 0x000B) + attributes(1, 4, 5, 7, 16, 17) + sized(EK_POLICY)
    + struct.pack(">HHHHHH", 0x0006, 128, 0x0043, 0x0010, 0x0003, 0x0010) + sized(bytes(32)) * 2
)  # fmt: skip


class Tpm:
    """One running swtpm. Use as a context manager."""

    def __init__(self) -> None:
        program = shutil.which("swtpm")
        if program is None:
            pytest.skip("swtpm is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="tpm"))
        path = self.folder / "s"
        self.process = subprocess.Popen(
            [program, "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", "--server", f"type=unixio,path={path}",
             "--flags", "not-need-init,startup-clear"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(200):
            try:
                self.socket.connect(str(path))
                return
            except OSError:
                time.sleep(0.05)
        self.close()
        pytest.skip("swtpm did not start")

    def __enter__(self) -> Tpm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise EOFError("swtpm went away")
            data += piece
        return data

    def command(self, code: int, handles: bytes, body: bytes, sessions: tuple[int, ...] = ()) -> bytes:
        auth = b"".join(struct.pack(">I", session) + sized(b"") + b"\x01" + sized(b"") for session in sessions)
        area = struct.pack(">I", len(auth)) + auth if sessions else b""
        payload = handles + area + body
        tag = 0x8002 if sessions else 0x8001
        for _ in range(3):  # TPM_RC_RETRY: the TPM asks for the same command again
            self.socket.sendall(struct.pack(">HII", tag, 10 + len(payload), code) + payload)
            _, size, result = struct.unpack(">HII", self._read(10))
            answer = self._read(size - 10)
            if result != 0x922:
                break
        assert result == 0, f"TPM error 0x{result:x} for command 0x{code:x}"
        return answer

    def create(self, hierarchy: int, template: bytes) -> tuple[int, bytes]:
        """(handle, TPM2B_PUBLIC)."""
        sensitive = sized(sized(b"") + sized(b""))
        body = sensitive + sized(template) + sized(b"") + struct.pack(">I", 0)
        answer = self.command(0x131, struct.pack(">I", hierarchy), body, (PASSWORD,))
        handle, _, size = struct.unpack(">IIH", answer[:10])
        return handle, answer[8 : 10 + size]

    def flush(self, handle: int) -> None:
        self.command(0x165, b"", struct.pack(">I", handle))

    def extend(self, index: int, text: bytes) -> None:
        body = struct.pack(">IH", 1, 0x000B) + hashlib.sha256(text).digest()
        self.command(0x182, struct.pack(">I", index), body, (PASSWORD,))

    def read(self, indices: list[int], bank: int = 0x000B) -> dict[int, bytes]:
        found = {}
        for index in indices:
            answer = self.command(0x17E, b"", selection([index], bank))
            found[index] = answer[-{0x000B: 32, 0x000C: 48}[bank] :]
        return found

    def quote(self, key: int, nonce: bytes, indices: list[int], bank: int = 0x000B) -> tuple[bytes, bytes]:
        """(TPMS_ATTEST, TPMT_SIGNATURE)."""
        body = sized(nonce) + struct.pack(">H", 0x0010) + selection(indices, bank)
        answer = self.command(0x158, struct.pack(">I", key), body, (PASSWORD,))[4:]
        size = struct.unpack(">H", answer[:2])[0]
        rest = answer[2 + size :]
        end = 6 + struct.unpack(">H", rest[4:6])[0]
        if rest[:2] == b"\x00\x18":
            end += 2 + struct.unpack(">H", rest[end : end + 2])[0]
        return answer[2 : 2 + size], rest[:end]

    def activate(self, ak: int, ek: int, blob: bytes, secret: bytes) -> bytes:
        """TPM2_ActivateCredential with the EK's default policy, PolicySecret(endorsement)."""
        body = sized(bytes(16)) + sized(b"") + b"\x01" + struct.pack(">HH", 0x0010, 0x000B)
        answer = self.command(0x176, struct.pack(">II", NULL, NULL), body)
        session = struct.unpack(">I", answer[:4])[0]
        self.command(0x151, struct.pack(">II", ENDORSEMENT, session), sized(b"") * 3 + bytes(4), (PASSWORD,))
        answer = self.command(0x147, struct.pack(">II", ak, ek), blob + secret, (PASSWORD, session))[4:]
        self.flush(session)
        size = struct.unpack(">H", answer[:2])[0]
        return answer[2 : 2 + size]


def selection(indices: list[int], bank: int = 0x000B) -> bytes:
    bits = sum(1 << index for index in indices)
    return struct.pack(">IHB", 1, bank, 3) + bits.to_bytes(3, "little")
