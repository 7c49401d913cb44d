"""This machine's devices, against folders and functions that answer as the kernel does."""

from __future__ import annotations

import base64
import ctypes
import errno
import json
import shutil
import struct
from pathlib import Path

import judged
import pytest

from fastness import devices
from fastness.devices import gramine, nsm, sev_guest, sev_secret, tpm, tsm
from fastness.devices.failure import DeviceError
from fastness.errors import UsageError
from fastness.wire import cbor, injected

DATA = bytes(range(64))


def test_none_here(tmp_path):
    assert devices.find(tmp_path) == ()
    with pytest.raises(UsageError, match="offers no evidence"):
        devices.collect(b"", root=tmp_path)
    with pytest.raises(UsageError, match="at most 64"):
        devices.collect(bytes(65), root=tmp_path)
    with pytest.raises(UsageError, match="no device"):
        devices.load("magic")


@pytest.fixture
def configfs(tmp_path, monkeypatch):
    """A folder whose new folders hold what the kernel puts into them, and go with it; ``written`` was in the last."""
    (tmp_path / tsm.PLACE).mkdir(parents=True)
    files = {"provider": b"tdx_guest\n", "generation": b"1\n", "outblob": b"quote", "auxblob": b""}
    plain = Path.mkdir

    def mkdir(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        if self.parent == tmp_path / tsm.PLACE:
            for name, data in files.items():
                (self / name).write_bytes(data)

    def rmdir(self):
        files["written"] = (self / "inblob").read_bytes() if (self / "inblob").exists() else b""
        shutil.rmtree(self)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)
    return tmp_path, files


def test_tsm(configfs):
    root, files = configfs
    assert devices.find(root) == ("tsm",)
    assert devices.collect(b"\1", root=root) == devices.Quote("tdx", b"quote")
    assert files["written"] == b"\1" + bytes(63)
    assert not list((root / tsm.PLACE).iterdir())
    files |= {"provider": b"sev_guest", "auxblob": b"table"}
    assert tsm.quote(DATA, root) == devices.Quote("snp", b"quote", (("certificate-table", b"table"),))


def test_tsm_without_a_tee_is_no_interface(tmp_path, monkeypatch):
    (tmp_path / tsm.PLACE).mkdir(parents=True)

    def mkdir(self, *args, **kwargs):
        raise OSError(errno.ENXIO, "no such device or address")  # as the kernel without a provider answers

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert devices.find(tmp_path) == ()


@pytest.mark.parametrize("change", [{"provider": b"somebody"}, {"outblob": b""}, {"outblob": b"x" * 70000}])
def test_tsm_refuses(configfs, change):
    root, files = configfs
    files.update(change)
    with pytest.raises(DeviceError):
        tsm.quote(DATA, root)


def test_tsm_notices_another_writer(configfs, monkeypatch):
    root, _ = configfs
    answers = iter([b"1", b"tdx_guest", b"quote", b"table", b"2"])
    monkeypatch.setattr(tsm, "bounded", lambda path, limit: next(answers))
    with pytest.raises(DeviceError, match="at the same time"):
        tsm.quote(DATA, root)


def at(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


@pytest.mark.parametrize("extended", [True, False])
def test_sev_guest(tmp_path, extended):
    (tmp_path / "dev").mkdir()
    (tmp_path / sev_guest.PLACE).write_bytes(b"")

    def ioctl(handle, request, argument):
        version, asked, answer, _ = struct.unpack("<B7xQQQ", argument)
        assert version == 1 and at(asked, 96) == DATA + bytes(32)
        if request == sev_guest.GET_EXT_REPORT:
            if not extended:
                raise OSError(5, "no certificates")
            address, size, _ = struct.unpack("<QII", at(asked, 112)[96:])
            ctypes.memmove(address, b"G" * 24, min(24, size))
        ctypes.memmove(answer, struct.pack("<II24x", 0, 1184) + b"R" * 1184, 32 + 1184)
        return 0

    quote = sev_guest.quote(DATA, tmp_path, ioctl=ioctl)
    assert quote.tee == "snp" and quote.evidence == b"R" * 1184 and bool(quote.endorsements) is extended


def test_sev_guest_refuses_a_bad_status(tmp_path):
    (tmp_path / "dev").mkdir()
    (tmp_path / sev_guest.PLACE).write_bytes(b"")

    def ioctl(handle, request, argument):
        ctypes.memmove(struct.unpack("<B7xQQQ", argument)[2], struct.pack("<II", 0x16, 0), 8)
        return 0

    with pytest.raises(DeviceError, match="status 22"):
        sev_guest.quote(DATA, tmp_path, ioctl=ioctl)
    with pytest.raises(DeviceError):
        sev_guest.quote(DATA, tmp_path / "none", ioctl=ioctl)


@pytest.mark.parametrize(
    ("reply", "good"),
    [
        (cbor.encode({"Attestation": {"document": b"doc"}}), True),
        (cbor.encode({"Error": "InvalidOperation"}), False),
        (b"\xff", False),
        (b"", False),
    ],
)
def test_nsm(tmp_path, reply, good):
    (tmp_path / "dev").mkdir()
    (tmp_path / nsm.PLACE).write_bytes(b"")

    def ioctl(handle, request, argument):
        asked, size, answer, _ = struct.unpack("<QQQQ", argument)
        assert cbor.decode(at(asked, size))["Attestation"]["user_data"] == DATA
        ctypes.memmove(answer, reply, len(reply))
        argument[24:] = struct.pack("<Q", len(reply))
        return 0

    if good:
        assert nsm.quote(DATA, tmp_path, ioctl=ioctl) == devices.Quote("nitro", b"doc")
    else:
        with pytest.raises(DeviceError):
            nsm.quote(DATA, tmp_path, ioctl=ioctl)


def test_gramine(tmp_path, capsys):
    place = tmp_path / gramine.PLACE
    place.mkdir(parents=True)
    (place / "user_report_data").write_bytes(b"")
    (place / "quote").write_bytes(b"quote")
    (place / "attestation_type").write_bytes(b"none")
    assert devices.find(tmp_path) == ("gramine",)
    with pytest.raises(DeviceError, match="none"):
        gramine.quote(DATA, tmp_path)
    (place / "attestation_type").write_bytes(b"dcap\n")
    done = judged.run(
        capsys, "evidence", "collect", "--root", tmp_path, "--report-data", DATA.hex(), "--output", tmp_path / "out"
    )
    assert done.code == 0 and (tmp_path / "out" / "sgx.bin").read_bytes() == b"quote"
    assert (place / "user_report_data").read_bytes() == DATA
    bundle = judged.run(capsys, "evidence", "collect", "--root", tmp_path).document
    assert base64.b64decode(bundle["items"][0]["data"]) == b"quote"


def test_tpm_against_a_software_tpm(tmp_path, capsys):
    swtpm = pytest.importorskip("swtpm")
    with swtpm.Tpm() as running:

        def transmit(command: bytes) -> bytes:
            running.socket.sendall(command)
            head = running._read(10)
            return head + running._read(struct.unpack(">HII", head)[1] - 10)

        quote = tpm.quote(b"nonce".ljust(64, b"\0"), tmp_path, transmit=transmit)
    parts = dict(quote.endorsements)
    folder = tmp_path / "evidence"
    folder.mkdir()
    for name, data in (("quote", quote.evidence), *parts.items()):
        (folder / name).write_bytes(data)
    words = ["verify", folder, "--json", "--offline"]
    alone = judged.run(capsys, *words)
    assert alone.code in (4, 5) and alone.document["genuine"] is not True and alone.document["tee"] == "tpm"
    from fastness.tee.tpm import structures

    (tmp_path / "ak.der").write_bytes(structures.public(parts["ak"]).spki.raw)
    named = judged.run(capsys, *words, "--nonce", b"nonce".hex(), "--anchors", tmp_path / "ak.der")
    assert named.code == 0, named.document["error"]
    assert json.loads(parts["pcrs"])["sha256"].keys() == {str(index) for index in range(16)}


def test_tpm_refuses(tmp_path):
    for reply in (b"", b"\x80\x01\x00\x00\x00\x0a\x00\x00\x01\x01", b"\x80\x02\x00\x00\x00\xff\x00\x00\x00\x00"):
        with pytest.raises(DeviceError):
            tpm.quote(DATA, tmp_path, transmit=lambda _, reply=reply: reply)
    with pytest.raises(DeviceError):
        tpm.quote(DATA, tmp_path)


KEY = bytes(range(32))


def injected_secrets(root: Path, *lines: str, table: bytes, at: int = 0x80C000) -> None:
    """Memory and the kernel's list of it, as after a launch with ``table`` at an address."""
    for name in ("dev", "proc"):
        (root / name).mkdir(exist_ok=True)
    (root / sev_secret.RANGES).write_text("".join(f"{line}\n" for line in lines))
    with (root / sev_secret.MEMORY).open("wb") as memory:
        memory.truncate(1 << 25)
        memory.seek(at)
        memory.write(table)


LAYOUT = ("00000000-00000fff : Reserved", "00001000-007fffff : System RAM", "0080c000-0080cfff : Reserved",
          "  0080c000-0080cfff : something inside", "0080d000-1fffffff : System RAM")  # fmt: skip


def test_a_secret_in_reserved_memory(tmp_path):
    injected_secrets(tmp_path, *LAYOUT, table=injected.table({bytes(16): b"another's", injected.KEEP: KEY}))
    assert devices.find(tmp_path) == ("sev_secret",)
    found = devices.collect(DATA, root=tmp_path)
    assert (found.tee, found.endorsements) == ("sev", ())
    assert found.evidence == injected.prove(KEY, DATA)
    assert injected.proves(KEY, found.evidence)
    assert not injected.proves(bytes(32), found.evidence)


def test_a_secret_by_the_kernels_driver_comes_first(tmp_path):
    injected_secrets(tmp_path, *LAYOUT, table=injected.table({injected.KEEP: bytes(32)}))
    (tmp_path / sev_secret.PLACE).parent.mkdir(parents=True)
    (tmp_path / sev_secret.PLACE).write_bytes(KEY)
    assert injected.proves(KEY, devices.collect(DATA, root=tmp_path).evidence)


@pytest.mark.parametrize(
    "line",
    [
        "0080c000-0080cfff : System RAM",  # the guest's own memory
        "000f0000-000fffff : Reserved",  # legacy firmware
        "b0000000-bfffffff : Reserved",  # a window to devices: reading may do something
        "  0080c000-0080cfff : Reserved",  # within another's
    ],
)
def test_only_memory_that_firmware_reserved_is_looked_at(tmp_path, line):
    start = int(line.split("-")[0], 16)
    injected_secrets(tmp_path, line, table=injected.table({injected.KEEP: KEY}), at=min(start, 1 << 24))
    assert devices.find(tmp_path) == ()
    with pytest.raises(DeviceError, match="no secret was injected") as error:
        sev_secret.quote(DATA, tmp_path)
    assert "deploy --platform sev" in error.value.hint


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (injected.table({bytes(16): KEY}), "0 bytes, not 32"),
        (injected.table({injected.KEEP: KEY[:31]}), "31 bytes, not 32"),
        (injected.TABLE + b"\xff\xff\xff\xff", "damaged"),
        (injected.TABLE + bytes(12), "damaged"),
        (injected.table({injected.KEEP: KEY}).replace(injected.KEEP + b"\x34", injected.KEEP + b"\x99"), "damaged"),
    ],
)
def test_damaged_secrets_prove_nothing(tmp_path, table, told):
    injected_secrets(tmp_path, *LAYOUT, table=table)
    with pytest.raises(DeviceError, match=told):
        devices.collect(DATA, "sev_secret", tmp_path)


def test_a_kernel_that_lets_nobody_look(tmp_path):
    injected_secrets(tmp_path, *LAYOUT, table=b"")
    (tmp_path / sev_secret.MEMORY).unlink()
    assert not sev_secret.present(tmp_path)
    with pytest.raises(DeviceError, match="failed"):
        sev_secret.quote(DATA, tmp_path)
