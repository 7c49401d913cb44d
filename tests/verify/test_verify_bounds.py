"""Work that hostile input can ask for: counted, never timed."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import tracemalloc
import zipfile
from typing import Any

import pytest

from fastness.collateral import archive, encodings, heap, json_forms
from fastness.collateral.gather import gather
from fastness.errors import UsageError
from fastness.wire import der


class Counter:
    """Calls of a function, or the sizes of what it gives back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        inner = getattr(module, name)
        self.calls = self.given = 0

        def counted(*args: Any, **named: Any) -> Any:
            self.calls += 1
            result = inner(*args, **named)
            self.given += len(result) if isinstance(result, list) else 0
            return result

        monkeypatch.setattr(module, name, counted)


def short(index: int) -> str:
    """A string that could be the beginning of a certificate."""
    return base64.b64encode(b"\x30\x82\x00\x30" + index.to_bytes(8, "big") + bytes(40)).decode()


@pytest.mark.parametrize("shape", ["a list", "one below the other", "quotes"])
def test_short_strings_are_not_all_asked_what_they_are(shape, monkeypatch):
    decoded = Counter(monkeypatch, encodings, "decoded")
    plain = [short(index) for index in range(3 * heap.MAX_ASKED)]
    many: Any = {
        "a list": plain,
        "one below the other": [json.dumps({str(index): item}) for index, item in enumerate(plain[:512])] * 2,
        "quotes": [{"message": item, "signature": item, "pcrs": []} for item in plain],
    }[shape]
    assert not gather([json.dumps(many).encode()]).evidence
    assert decoded.calls <= heap.MAX_ASKED * (2 if shape == "quotes" else 1)


def test_registers_are_counted_before_they_are_read(monkeypatch):
    decoded = Counter(monkeypatch, encodings, "decoded")
    gather([json.dumps({"message": "00", "signature": "00", "pcrs": ["00" * 32] * 10_000}).encode()])
    assert decoded.calls <= 2


def test_what_is_zipped_counts_when_it_unfolds():
    """Eight kilobytes of zeros in gzip are eight mebibytes: of them, as of files, a heap takes so many."""
    bomb = gzip.compress(bytes(heap.MAX_FILE + 1))
    assert len(bomb) < 10_000
    assert gather([bomb]).ignored
    with pytest.raises(UsageError, match="64 MiB of input"):
        gather([bomb] * (heap.MAX_TOTAL // heap.MAX_FILE + 1))
    whole = gzip.compress(bytes(100))
    for changed in (whole[:-1], whole[:-5] + bytes(5), whole + whole, whole[:12] + b"\xff" + whole[13:]):
        assert gather([changed]).ignored


def zipped(files: dict[str, bytes]) -> bytearray:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return bytearray(out.getvalue())


def test_a_member_unfolds_to_no_more_than_it_says():
    """64 MiB of zeros under a directory that says a hundred bytes."""
    bomb = zipped({"x": bytes(64 << 20)})
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        start = bomb.index(mark) + place
        bomb[start : start + 4] = struct.pack("<I", 100)
    tracemalloc.start()
    assert gather([bytes(bomb)]).ignored
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_directory_is_counted_before_it_is_read(monkeypatch):
    opened = Counter(monkeypatch, zipfile, "ZipFile")
    many = bytes(zipped({str(index): b"x" for index in range(archive.MAX_ENTRIES + 1)}))
    opened.calls = 0
    with pytest.raises(UsageError, match="more than 512 entries"):
        gather([many])
    assert not opened.calls


def test_a_member_beyond_all_files_is_damaged():
    """A ZIP64 offset that no file has: an integer that does not fit."""
    data = zipped({"x": bytes(100)})
    entry, extra = data.index(b"PK\1\2"), struct.pack("<HHQ", 1, 8, (1 << 64) - 1)
    data[entry + 42 : entry + 46], data[entry + 30 : entry + 32] = b"\xff" * 4, struct.pack("<H", len(extra))
    data[entry + 47 : entry + 47] = extra
    size = data.index(b"PK\5\6") + 12
    data[size : size + 4] = struct.pack("<I", struct.unpack_from("<I", data, size)[0] + len(extra))
    assert "damaged" in gather([bytes(data)]).ignored[0].why


def tlv(tag: int, value: bytes) -> bytes:
    return bytes((tag, 0x83)) + len(value).to_bytes(3, "big") + value


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_elements_of_no_certificate_are_not_all_read(depth, monkeypatch):
    read = [Counter(monkeypatch, der, name) for name in ("children", "first")]
    data = b"\x05\x00" * 300_000
    for _ in range(depth):
        data = tlv(der.SEQUENCE, data)
    assert gather([data]).ignored
    assert sum(item.given for item in read) < 1000


def test_signed_documents_that_do_not_end_are_read_a_little_way(monkeypatch):
    read = 0
    inner = json.JSONDecoder.raw_decode

    def counted(self: json.JSONDecoder, said: str, idx: int = 0) -> Any:
        nonlocal read
        read += len(said) - idx
        return inner(self, said, idx)

    data = b'{"signature":' * 16 + b"[" + b"1," * 1_000_000 + b"1]" + b"}" * 16
    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    gather([b"[" + data + b"]"])
    assert 0 < read <= json_forms.MAX_NESTED * json_forms.MAX_SIGNED + 2 * len(data)
