"""SEV comes in parts: each guest's report counts, and none is passed over for its size."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest

from fastness.attestation import verify_all
from fastness.collateral import archive, heap
from fastness.collateral.gather import gather
from fastness.errors import UsageError
from fastness.forge import sev, tdx
from fastness.result import Result, exit_code
from fastness.tee.sev import endorse, layout
from fastness.wire import cbor

FORGED = sev.make({"guest": {}})


def parts_of(evidence: bytes) -> dict[str, bytes]:
    return {layout.PARTS[key - 2]: value for key, value in cbor.decode(evidence).items() if key != 1}


PARTS = parts_of(FORGED.evidence)
CHAIN = tuple(data for kind, data in PARTS.items() if kind != "report")
REPORT = PARTS["report"]


def answer(*sources: bytes) -> tuple[Result, ...]:
    return verify_all(*sources, at=FORGED.at, anchors=FORGED.anchors)


def test_each_report_beside_a_chain_is_a_guest_of_its_own():
    """sev.report: an altered one was passed over where it came before a genuine one."""
    altered = REPORT[:0x20] + bytes((REPORT[0x20] ^ 1,)) + REPORT[0x21:]
    for pair in ((REPORT, altered), (altered, REPORT)):
        results = answer(*CHAIN, *pair)
        assert exit_code(results) == 4
        assert [item.genuine for item in results] == [data == REPORT for data in pair]
        assert {getattr(item.error, "check", None) for item in results} == {None, "sev.report"}
    other = parts_of(sev.make({"guest": {"launch_digest": "aa" * 32}}).evidence)["report"]
    measured = [item.claims["measurements"]["launch"] for item in answer(*CHAIN, REPORT, other) if item.claims]
    assert len(set(measured)) == 2 and "aa" * 32 in measured


def test_so_many_guests_and_one_launch():
    reports = [bytes((index,)) + REPORT[1:] for index in range(65)]
    found = gather([*CHAIN, *reports[:64]]).evidence
    assert [parts_of(item.data)["report"] for item in found] == reports[:64]
    with pytest.raises(UsageError, match="the reports of 65 SEV guests, more than 64"):
        gather([*CHAIN, *reports])
    launched = [parts_of(sev.make({"launch": {}, "report_data": "aa" * 64}).evidence) for _ in range(2)]
    for kind, words in (("launch", "the launches of 2"), ("proof", "the proofs of 2")):
        with pytest.raises(UsageError, match=words) as error:
            gather([*CHAIN, *(item[kind] for item in launched)])
        assert error.value.hint


def test_what_was_mixed_is_told_with_its_files(tmp_path, monkeypatch):
    """A host can hand a tenant this: who reads it must know which files to take away."""
    other = parts_of(sev.make({"guest": {}, "large": True}).evidence)
    launched = [parts_of(sev.make({"launch": {}, "report_data": "aa" * 64}).evidence) for _ in range(2)]
    for folder, parts in (("one", PARTS), ("two", other), ("three", launched[0]), ("four", launched[1])):
        (tmp_path / folder).mkdir()
        for kind, data in parts.items():
            (tmp_path / folder / kind).write_bytes(data)
    paths = {name: str(tmp_path / name) for name in ("one", "two", "three", "four")}
    with pytest.raises(UsageError, match="the certificates of 2 SEV platforms") as error:
        gather([paths["one"], paths["two"]])
    assert error.value.where == ", ".join(f"{paths[name]}/{kind}" for name in ("one", "two") for kind in ("cek", "pek"))
    for kind in ("launch", "proof"):
        with pytest.raises(UsageError) as error:
            gather([paths["one"], f"{paths['three']}/{kind}", f"{paths['four']}/{kind}"])
        assert error.value.where == f"{paths['three']}/{kind}, {paths['four']}/{kind}"
    reports = [tmp_path / f"{index:02}" for index in range(65)]
    for index, place in enumerate(reports):
        place.write_bytes(bytes((index,)) + REPORT[1:])
    with pytest.raises(UsageError) as error:
        gather([*CHAIN, *map(str, reports)])
    assert error.value.where == f"{', '.join(map(str, reports[:8]))} and 57 more"
    monkeypatch.setattr(endorse, "MAX_GUESTS", 7)
    with pytest.raises(UsageError) as error:
        gather([*CHAIN, *map(str, reports[:8])])
    assert error.value.where == ", ".join(map(str, reports[:8]))


@pytest.mark.parametrize("kind", list(PARTS))
def test_a_part_that_was_cut_or_added_to_is_refused(kind):
    """Optional parts (PDH, OCA, report) were passed over, and the rest was genuine."""
    data = PARTS[kind]
    rest = [item for name, item in PARTS.items() if name != kind]
    for changed in (data[:-1], data[: len(data) // 2], data + b"\0"):
        results = answer(*rest, changed)
        assert [item.genuine for item in results] == [False] and exit_code(results) == 3
        assert f"{kind}: need" in str(results[0].error)
    assert exit_code(answer(*PARTS.values(), data[:-1])) == (3 if kind == "report" else 0)


@pytest.mark.parametrize("data", [
    b"\1\0\0\0" + b"\7" * 300, b"\1\0\0\0" + bytes(4) + b"\2\x10\0\0" + b"\7" * 100,
    PARTS["pek"][:0xA4] + b"\1" + PARTS["pek"][0xA5:-1], PARTS["pek"][:6] + b"\1" + PARTS["pek"][7:-1],
    REPORT[:0x38] + b"\3" + REPORT[0x39:-1], REPORT[:0x3C] + b"\1" + REPORT[0x3D:-1],
    PARTS["ask"][:0x3C] + b"\1" + PARTS["ask"][0x3D:-1], PARTS["ask"][:0x24] + b"\1" + PARTS["ask"][0x25:-1],
    PARTS["ask"][:0x38] + bytes((1, 2, 0, 0) * 2) + PARTS["ask"][0x40:-1],
])  # fmt: skip
def test_what_only_resembles_a_part_is_left_aside(data):
    found = gather([*PARTS.values(), data])
    assert [item.why for item in found.ignored] == ["neither evidence nor collateral"]


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        made.mkdir("folder")
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def test_an_archive_as_sev_tool_exports_it():
    results = answer(zipped(PARTS))
    assert [item.genuine for item in results] == [True]
    assert exit_code(answer(zipped({**PARTS, "pek": PARTS["pek"][:-1]}))) == 3
    assert len(gather([zipped(PARTS, zipfile.ZIP_STORED)]).evidence) == 1


def test_an_archive_is_bounded_as_files_are(monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE", 1 << 12)
    monkeypatch.setattr(heap, "MAX_TOTAL", 1 << 14)
    damaged = zipped({"x": bytes(1 << 12)}, zipfile.ZIP_STORED).replace(bytes(64), bytes(63) + b"\1", 1)
    for data, why in (
        (damaged, "damaged"), (zipped({"x": bytes(1 << 13)}), "too large"),
        (zipped({"x": b"x"}, zipfile.ZIP_LZMA), "encrypted"),
    ):  # fmt: skip
        found = gather([data])
        assert not found.evidence and why in found.ignored[0].why and found.ignored[0].source == "bytes/x"
    with pytest.raises(UsageError, match="of input"):
        gather([zipped({"x": bytes(1 << 13), "y": bytes(1 << 13), "z": bytes(1 << 13), "a": bytes(1 << 13)})])
    assert [item.name for item in archive.members(zipped({"a": b"1", "b": b"2"}), "x.zip")] == ["a", "b"]
    monkeypatch.setattr(archive, "MAX_ENTRIES", 2)
    with pytest.raises(UsageError, match="more than 2 entries"):
        list(archive.members(zipped({"a": b"1", "b": b"2"}), "x.zip"))
    assert gather([b"PK\3\4" + bytes(40)]).ignored[0].why == "neither evidence nor collateral"


def tarred(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT, **others: bytes) -> bytes:
    """``files`` in a folder of a tar archive, then empty entries of other types under ``others``."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as made:
        entries = [("folder", tarfile.DIRTYPE, b""), *((name, tarfile.REGTYPE, data) for name, data in files.items())]
        for name, kind, data in [*entries, *((name, kind, b"") for name, kind in others.items())]:
            item = tarfile.TarInfo(name)
            item.type, item.size, item.linkname = kind, len(data), "/etc/passwd"
            made.addfile(item, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_archive_plain_and_in_gzip(form: int):
    long = "a folder of a long name/" * 5
    made = tarred({(long if form != tarfile.USTAR_FORMAT else "") + kind: data for kind, data in PARTS.items()}, form)
    for data in (made, gzip.compress(made)):
        assert [item.genuine for item in answer(data)] == [True]
        assert gather([data]).ignored == ()
    assert exit_code(answer(tarred({**PARTS, "pek": PARTS["pek"][:-1]}, form))) == 3


def test_a_tar_archive_is_bounded_as_files_are(monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE", 1 << 12)
    links = {"link": tarfile.SYMTYPE, "same": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}
    assert [item.name for item in archive.tarred(tarred(PARTS, **links), "x.tar")] == [*PARTS, *links]
    found = gather([tarred({**PARTS, "large": bytes((1 << 12) + 1)}, **links)])
    assert len(found.evidence) == 1
    assert [item.source for item in found.ignored] == [f"bytes/{name}" for name in ("large", *links)]
    assert all("too large or a link" in item.why for item in found.ignored)
    assert [len(item.data or b"") for item in archive.tarred(tarred({"x": bytes(1 << 12)}), "x.tar")] == [1 << 12]
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    assert [item.name for item in archive.tarred(tarred({"a": b"1", "b": b"2"}), "x.tar")] == ["a", "b"]
    with pytest.raises(UsageError, match="more than 3 entries"):
        list(archive.tarred(tarred({"a": b"1", "b": b"2", "c": b"3"}), "x.tar"))


def test_a_damaged_tar_archive_says_where():
    made = tarred({"x": b"1" * 600, "y": b"2"})
    second = 512 + 512 + 1024
    for changed, names in (
        (made[:1536], ["x"]), (made[: second + 100], ["x", f"entry at byte {second}"]),
        (made[:second] + b"!" + made[second + 1 :], ["x", f"entry at byte {second}"]), (b"!" + made[1:], []),
    ):  # fmt: skip
        found = list(archive.tarred(changed, "x.tar"))
        assert [item.name for item in found] == names
        assert all(item.data is None for item in found[-1:])
    below = tarfile.TarInfo("z")
    below.size = -512
    head = below.tobuf(tarfile.GNU_FORMAT)
    assert [item.name for item in archive.tarred(made[:second] + head + made, "x.tar")] == [
        "x",
        f"entry at byte {second}",
    ]
    assert list(archive.tarred(head, "x.tar")) == []


def test_what_only_has_the_word_of_a_tar_archive_is_what_it_is():
    forged = tdx.make({"fields": {"mrconfigid": (bytes(25) + b"ustar").ljust(48, b"\0").hex()}})
    assert forged.evidence[257:262] == b"ustar"
    assert [item.tee for item in gather([forged.evidence]).evidence] == ["tdx"]


@pytest.mark.parametrize("absent", [("ark",), ("ask",), ("ark", "ask")])
def test_which_root_is_missing_and_where_it_is(absent):
    results = answer(*(data for kind, data in PARTS.items() if kind not in absent))
    assert exit_code(results) == 5 and results[0].error
    assert results[0].error.what == f"{' and '.join(absent).upper().replace('AND', 'and')} in AMD's format is missing"
    assert "ask_ark_naples.cert" in results[0].error.hint and "cek" not in results[0].error.hint
