"""An image on disk: named by its manifest, whole or absent, hashed at every load; and what differs is named."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard

import synthetic
from fastness.cli.main import main
from fastness.errors import Malformed, UsageError
from fastness.image import build, cpio, reproduce, store
from fastness.image.contents import Contents
from fastness.image.store import Image


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def made(contents: Contents | None = None, *, debug: bool = False) -> tuple[dict, dict]:
    pins = (synthetic.item("deb", "libx", b"x"), synthetic.item("deb", "linux-image-6", b"k"))
    return build.assemble(synthetic.lock(*pins), contents or synthetic.contents(), debug=debug)


def placed(contents: Contents | None = None) -> Image:
    image = store.place(*made(contents))
    store.remember(image, "k")
    return image


def test_named_by_its_manifest() -> None:
    image = placed()
    assert image.folder == store.images() / image.digest
    assert store.hash_file(image.folder / store.MANIFEST) == image.digest
    assert store.load() == store.load(image.digest) == store.load(image.digest[:8]) == image
    assert store.load(str(image.folder)) == image
    assert image.kernel.read_bytes() == b"kernel" * 1000
    assert image.cmdline == build.CMDLINE
    assert (image.release, image.debug) == ("6.12-test", False)
    assert image.uki.is_file()
    assert image.eif.read_bytes()[:4] == b".eif"
    assert store.built("k") == image
    assert store.built("other") is None


def test_debug_is_another_image_that_says_so() -> None:
    (plain, _), (debug, artefacts) = made(), made(debug=True)
    assert store.digest(plain) != store.digest(debug)
    assert artefacts[store.CMDLINE].decode().split()[-1] == build.DEBUG
    assert store.place(debug, artefacts).debug


def test_manifest_tells_every_file() -> None:
    manifest, artefacts = made()
    rows = {row["path"]: row for row in manifest["root"]}
    assert list(rows) == ["init", "usr", "usr/lib", "usr/lib/fastness", "usr/lib/fastness/a.py", "usr/lib/lib.so"]
    assert rows["usr/lib/lib.so"]["origin"] == "libx"
    assert (rows["init"]["mode"], rows["usr"]["mode"]) == ("100555", "040555")
    assert rows["usr/lib/fastness/a.py"]["lines"] == 1
    assert manifest["inputs"][0]["parts"][0]["name"] == "inner"
    assert {row["name"]: row["size"] for row in manifest["artefacts"]} == {k: len(v) for k, v in artefacts.items()}


@pytest.mark.parametrize("name", [store.KERNEL, store.INITRD, store.CMDLINE, store.UKI, store.EIF, store.MANIFEST])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_artefact_is_refused_by_name(name: str, how: str) -> None:
    image = placed()
    path = image.folder / name
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if how == "cut" else data[:5] + bytes([data[5] ^ 1]) + data[6:])
    with pytest.raises(UsageError) as caught:
        store.load(image.digest)
    assert caught.value.where == str(path)
    assert "fastness image build" in caught.value.hint
    assert store.built("k") is None
    assert placed().digest == image.digest  # building again mends it
    assert store.load().digest == image.digest


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{}", b'{"schema": 1}', b'{"artefacts": [{"name": "../x", "sha256": ""}]}', b"\xff", b"1"]
)
def test_a_manifest_that_is_none(home: Path, manifest: bytes) -> None:
    (home / "x").mkdir()
    (home / "x" / store.MANIFEST).write_bytes(manifest)
    with pytest.raises(UsageError):
        store.load(str(home / "x"))


def test_a_manifest_lists_every_artefact_once_and_nothing_else(home: Path) -> None:
    image = placed()
    image.folder.rename(home / "x")
    rows = image.manifest["artefacts"]
    outside = {**rows[0], "name": f"../x/{rows[0]['name']}"}
    for wrong in ([outside, *rows[1:]], rows[1:], [*rows, rows[0]], [*rows, outside]):
        (home / "x" / store.MANIFEST).write_text(json.dumps({**image.manifest, "artefacts": wrong}))
        with pytest.raises(UsageError, match="does not list"):
            store.load(str(home / "x"))


def test_a_command_line_is_ascii(home: Path) -> None:
    manifest, artefacts = made()
    words = "init=/bin/ſh".encode()
    rows = [
        {**row, **({"sha256": sha256(words).hexdigest()} if row["name"] == store.CMDLINE else {})}
        for row in manifest["artefacts"]
    ]
    with pytest.raises(UsageError, match="cmdline is not ASCII"):
        store.place({**manifest, "artefacts": rows}, {**artefacts, store.CMDLINE: words}, home / "x")


def test_another_schema_is_not_read(home: Path) -> None:
    image = placed()
    document = json.loads((image.folder / store.MANIFEST).read_text())
    document["schema"] = "fastness/image/v9"
    (home / "x").mkdir()
    (home / "x" / store.MANIFEST).write_text(json.dumps(document))
    with pytest.raises(UsageError, match="v9"):
        store.load(str(home / "x"))


def test_names_that_name_nothing() -> None:
    with pytest.raises(UsageError, match="no image was built yet"):
        store.load()
    placed()
    for name in ("abc", "../x", "f" * 64, "a*"):
        with pytest.raises(UsageError):
            store.load(name)
    assert store.absent("f" * 64)
    assert not store.absent("f" * 63)


def test_concurrent_builds_leave_one_whole_image() -> None:
    manifest, artefacts = made()
    found: list[Image] = []
    threads = [threading.Thread(target=lambda: found.append(store.place(manifest, artefacts))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert [path.name for path in store.images().iterdir()] == [store.digest(manifest)]


def test_a_folder_of_something_else_stays(home: Path) -> None:
    (home / "out").mkdir()
    (home / "out" / "letter").write_text("dear")
    with pytest.raises(UsageError, match="no image"):
        store.place(*made(), home / "out")
    assert [path.name for path in (home / "out").iterdir()] == ["letter"]
    (home / "out" / "letter").unlink()
    assert store.place(*made(), home / "out").folder == home / "out"
    other = made(synthetic.contents(b"more"))
    assert store.place(*other, home / "out").digest == store.digest(other[0])  # an older image is replaced
    assert [path.name for path in home.iterdir()] == ["out"]


def test_same_parts_same_bytes() -> None:
    (manifest, artefacts), (again, other) = made(), made()
    assert artefacts == other
    assert store.encoded(manifest) == store.encoded(again)
    assert reproduce.compare(placed(), again, other) is None


def _root(change: cpio.Entry | None, path: str) -> Contents:
    contents = synthetic.contents()
    kept = tuple(entry for entry in contents.root if entry.path != path)
    return replace(contents, root=(*kept, change) if change else kept)


LIB = "usr/lib/lib.so"


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (replace(synthetic.contents(), vmlinuz=b"kernel" * 999 + b"kernet"), "vmlinuz: differs at byte 5999"),
        (
            _root(cpio.file(LIB, b"\x7fELF" * 99 + b"\x7fELf", "libx"), LIB),
            "keep.cpio.zst: /usr/lib/lib.so: differs at byte 399",
        ),
        (
            _root(cpio.file(LIB, b"\x7fELF" * 99, "libx"), LIB),
            "/usr/lib/lib.so: 400 bytes, again 396, differs at byte 396",
        ),
        (
            _root(cpio.file(LIB, b"\x7fELF" * 100, "libx", execute=True), LIB),
            "/usr/lib/lib.so: mode 100444, again 100555",
        ),
        (_root(None, LIB), "/usr/lib/lib.so: only the old image has it"),
        (_root(cpio.file("a", b"", "libx"), ""), "/a: only the new image has it"),
        (replace(synthetic.contents(), release="6.12-tess"), "keep.efi: .uname: differs at byte 8"),
        (replace(synthetic.contents(), stub=synthetic.stub()[:-1] + b"T"), "keep.efi: differs at byte "),
        (replace(synthetic.contents(), parts={}), "manifest.json: "),
    ],
)
def test_the_first_difference_is_named(contents: Contents, words: str) -> None:
    found = reproduce.compare(placed(), *made(contents))
    assert found is not None
    assert words in str(found)


def test_a_difference_in_compression_alone_is_one() -> None:
    image = placed()
    manifest, artefacts = made()
    root = zstandard.ZstdDecompressor().decompress(artefacts[store.INITRD])
    found = reproduce.compare(image, manifest, {**artefacts, store.INITRD: zstandard.ZstdCompressor().compress(root)})
    assert found is not None
    assert (found.artefact, found.part) == (store.INITRD, "")
    assert "differs at byte" in str(found)


@pytest.mark.parametrize(
    ("one", "other", "offset"),
    [(b"", b"", 0), (b"abc", b"abd", 2), (b"ab", b"abc", 2), (b"x", b"y", 0), (b"aab", b"aac", 2)],
)
def test_first_byte(one: bytes, other: bytes, offset: int) -> None:
    assert reproduce.first(one, other) == reproduce.first(other, one) == offset


def test_reproduce_refuses_a_manifest_without_inputs() -> None:
    with pytest.raises(Malformed, match="inputs"):
        reproduce.again({}, None, print)
    with pytest.raises(Malformed, match="no input is called linux-image-"):
        reproduce.again({**made()[0], "inputs": []}, None, lambda _: None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "-oAPT::Update::Pre-Invoke::=id"), ("name", "a\nb"), ("version", "--help"), ("version", "1 2"),
        ("version", 1), ("file", "../x"), ("file", "a/b"), ("file", ".x"), ("sha256", "../" + "a" * 61),
        ("kind", "rpm"), ("sha256", "A" * 64), ("size", 0), ("size", True), ("size", "1"), ("size", 1 << 40),
        ("source", "a b"), ("licence", "x\n"),
    ],
)  # fmt: skip
def test_a_manifest_says_nothing_to_a_client_but_names(field: str, value: object) -> None:
    manifest, _ = made()
    row = {**manifest["inputs"][0], field: value}
    with pytest.raises(Malformed, match=f"an input's {field} cannot be"):
        reproduce.again({**manifest, "inputs": [row]}, None, print)


def test_reproduce_tells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    image = placed()
    monkeypatch.setattr(build, "made", lambda pinned, cache, say, *, debug: made(debug=debug))
    assert main(["image", "reproduce"]) == 0
    assert capsys.readouterr().out == f"same: {image.digest}\n"
    assert main(["image", "reproduce", image.digest, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] is None
    monkeypatch.setattr(build, "made", lambda pinned, cache, say, *, debug: made(_root(None, LIB), debug=debug))
    assert main(["image", "reproduce", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["difference"] == {
        "artefact": "keep.cpio.zst", "part": "/usr/lib/lib.so", "offset": None, "what": "only the old image has it",
    }  # fmt: skip
    assert told["again"] != told["image"] == image.digest


def test_a_promised_digest_is_built(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(build, "made", lambda pinned, cache, say, *, debug: made(debug=debug))
    promised = store.digest(made(debug=True)[0])
    assert main(["image", "reproduce", promised]) == 0
    assert capsys.readouterr().out == f"same: {promised}\n"
    assert main(["image", "reproduce", "f" * 64]) == 1
    assert promised in capsys.readouterr().out
    assert main(["image", "reproduce", "f" * 63]) == 2
