"""The TPM back-end against a software TPM: runtime register, certificate, credential; and a TPM that lies."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fastness.devices import tpm, tpm_commands
from fastness.devices.failure import DeviceError
from fastness.tee.tpm import credential
from fastness.tee.tpm.parts import public_key
from fastness.tee.tpm.structures import Public
from swtpm import Tpm


def transmit(running: Tpm) -> Callable[[bytes], bytes]:
    def send(command: bytes) -> bytes:
        running.socket.sendall(command)
        head = running._read(10)
        return head + running._read(struct.unpack(">I", head[2:6])[0] - 10)

    return send


def test_what_is_extended_is_what_is_quoted(tmp_path: Path) -> None:
    with Tpm() as running:
        tpm.extend(b"one", tmp_path, transmit=transmit(running))
        tpm.extend(b"two", tmp_path, transmit=transmit(running))
        parts = dict(tpm.quote(b"n" * 64, tmp_path, transmit=transmit(running)).endorsements)
    register = bytes(32)
    for word in (b"one", b"two"):
        register = hashlib.sha256(register + hashlib.sha256(word).digest()).digest()
    assert f'"15": "{register.hex()}"'.encode() in parts["pcrs"]
    assert "ek_certificate" not in parts


def test_registers_are_read_eight_at_a_time() -> None:
    codes = []
    with Tpm() as running:
        send = transmit(running)

        def counting(command: bytes) -> bytes:
            codes.append(struct.unpack(">I", command[6:10])[0])
            return send(command)

        for number in (0, 7, 8, 15):
            running.extend(number, b"%d" % number)
        found = tpm_commands.Tpm(counting).registers(range(16))
        assert found == running.read(list(range(16)))
        assert list(found) == list(range(16))
    assert codes == [0x17E, 0x17E]


def registers(*given: int, count: int | None = None, bank: int = 0x0B) -> Callable[[bytes], bytes]:
    """A TPM that answers PCR_Read with the registers ``given``, each its number 32 times, and says ``count``."""

    def send(_: bytes) -> bytes:
        told = struct.pack(">IHB", 1, bank, 3) + sum(1 << index for index in given).to_bytes(3, "little")
        values = b"".join(struct.pack(">H", 32) + bytes((index,)) * 32 for index in given)
        body = struct.pack(">I", 1) + told + struct.pack(">I", len(given) if count is None else count) + values
        return struct.pack(">HII", 0x8001, 10 + len(body), 0) + body

    return send


def test_only_registers_that_were_asked_for_are_taken() -> None:
    assert tpm_commands.Tpm(registers(3, 5)).registers((5, 3)) == {3: b"\3" * 32, 5: b"\5" * 32}
    for lying in (registers(), registers(4), registers(3, 4), registers(3, 5, count=1), registers(3, 5, bank=0x0C)):
        with pytest.raises(DeviceError, match="no SHA-256 bank for PCR 3"):
            tpm_commands.Tpm(lying).registers((3, 5))


def test_the_tpm_opens_a_credential_for_its_keys_and_no_other(tmp_path: Path) -> None:
    with Tpm() as running:
        send = transmit(running)
        handle, area = tpm_commands.Tpm(send).create_primary(tpm.EK)
        tpm_commands.Tpm(send).flush(handle)
        endorsement = public_key(area)
        key = public_key(dict(tpm.quote(bytes(64), tmp_path, transmit=send).endorsements)["ak"])
        assert isinstance(endorsement, Public)
        assert isinstance(key, Public)
        made = credential.make_credential(endorsement, key.name, b"s" * 32)
        assert tpm.activate(*made, tmp_path, transmit=send) == b"s" * 32
        other = credential.make_credential(endorsement, b"\0\x0b" + bytes(32), b"s" * 32)
        with pytest.raises(DeviceError, match="0x147"):
            tpm.activate(*other, tmp_path, transmit=send)
        assert tpm.activate(*made, tmp_path, transmit=send) == b"s" * 32  # no key or session was left behind


def index(public: bytes, reads: list[bytes]) -> Callable[[bytes], bytes]:
    """A TPM that answers NV_ReadPublic with ``public`` and each NV_Read with the next of ``reads``."""
    left = list(reads)

    def send(command: bytes) -> bytes:
        code = struct.unpack(">I", command[6:10])[0]
        if code == 0x169:
            body = struct.pack(">H", len(public)) + public
        else:
            part = left.pop(0)
            body = struct.pack(">IH", len(part) + 2, len(part)) + part
        return struct.pack(">HII", 0x8001, 10 + len(body), 0) + body

    return send


def nv(size: int) -> bytes:
    return bytes(10) + struct.pack(">HH", 0, size)


def test_a_certificate_is_read_in_pieces_within_its_limit() -> None:
    assert tpm_commands.Tpm(index(nv(5), [b"abc", b"de"])).read_index(1, 16) == b"abcde"
    with pytest.raises(DeviceError, match="limit 16"):
        tpm_commands.Tpm(index(nv(17), [])).read_index(1, 16)
    with pytest.raises(DeviceError, match="ends early"):
        tpm_commands.Tpm(index(nv(5), [b"abc", b""])).read_index(1, 16)


@pytest.mark.parametrize("answer", [b"", b"\x80", struct.pack(">HII", 0x8001, 11, 0)])
def test_an_answer_out_of_form_is_an_error_of_the_device(answer: bytes) -> None:
    with pytest.raises(DeviceError):
        tpm_commands.Tpm(lambda _: answer).public(1)
