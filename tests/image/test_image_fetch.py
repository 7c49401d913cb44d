"""Inputs: pinned, cached by hash, fetched by clients that may fail, and never taken for what they are not."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

import synthetic
from fastness.errors import UsageError
from fastness.image import build, fetch, lock
from fastness.image.cache import Cache
from fastness.image.lock import Input

DEB, OTHER, WHEEL = b"deb of libx", b"deb of liby", b"wheel of w"
APT = """\
#!{python}
import os, pathlib, sys
place = pathlib.Path(os.environ["APT_CONFIG"]).parent
assert "bookworm main" in (place / "etc/sources.list").read_text()
with open({log!r}, "a") as log:
    print(*sys.argv[1:], file=log)
served = pathlib.Path({served!r})
if sys.argv[-1] == "update":
    loud = "APT::Update::Error-Mode=any" in sys.argv
    sys.exit("E: no network" if loud and (served / "down").exists() else 0)
for word in sys.argv[3:]:
    name = word.split("=")[0]
    if not (served / name).exists():
        sys.exit(f"E: Version '1' for '{{name}}' was not found")
    pathlib.Path(f"{{name}}_1.deb").write_bytes((served / name).read_bytes())
"""
PIP = """\
#!{python}
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("-d") + 1])
folder.mkdir(exist_ok=True)
assert "--require-hashes" in sys.argv and "--no-deps" in sys.argv
rows = pathlib.Path(sys.argv[sys.argv.index("-r") + 1]).read_text().splitlines()
for row in rows:
    name = row.split("==")[0]
    assert "--hash=sha256:" in row
    if (pathlib.Path({served!r}) / "down").exists():
        print("WARNING: Retrying after connection broken by 'Refused'", file=sys.stderr)
        sys.exit(f"ERROR: No matching distribution found for {{name}}==1")
    if not (pathlib.Path({served!r}) / name).exists():
        sys.exit(f"ERROR: No matching distribution found for {{name}}==1")
    (folder / f"{{name}}_1.wheel").write_bytes((pathlib.Path({served!r}) / name).read_bytes())
"""


class Archive:
    """What the fake clients serve, and what was asked of apt."""

    def __init__(self, place: Path) -> None:
        self.served, self.log = place / "served", place / "log"
        self.served.mkdir()
        for name, data in (("libx", DEB), ("liby", OTHER), ("w", WHEEL)):
            (self.served / name).write_bytes(data)

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    found = Archive(tmp_path)
    (tmp_path / "keys.gpg").touch()
    monkeypatch.setattr(fetch, "KEYRING", str(tmp_path / "keys.gpg"))
    (tmp_path / "bin").mkdir()
    for name, text in (("apt-get", APT), ("pip", PIP)):
        path = tmp_path / "bin" / name
        path.write_text(text.format(python=sys.executable, served=str(found.served), log=str(found.log)))
        path.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(fetch.sys, "executable", str(tmp_path / "bin" / "pip"))
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "inputs")


def pins() -> tuple[Input, ...]:
    return synthetic.item("deb", "libx", DEB), synthetic.item("deb", "liby", OTHER), synthetic.item("wheel", "w", WHEEL)


def test_fetched_once_then_from_the_cache(archive: Archive, cache: Cache) -> None:
    said: list[str] = []
    pinned = synthetic.lock(*pins())
    fetch.fetch(pinned, cache, said.append)
    assert [cache.read(item) for item in pinned.inputs] == [DEB, OTHER, WHEEL]
    update = "-q -o APT::Update::Error-Mode=any update"
    assert archive.asked() == [update, "-q download libx=1", "-q download liby=1"]
    steps = ["  1 of 2: libx 1, 0.0 MB", "  2 of 2: liby 1, 0.0 MB"]
    assert said == ["fetching 2 debs, 0.0 MB", *steps, "fetching 1 wheels, 0.0 MB", "  1 of 1: w 1, 0.0 MB"]
    for path in archive.served.iterdir():
        path.unlink()
    fetch.fetch(pinned, cache, said.append)
    assert len(said) == 5
    assert sorted(path.name for path in cache.place.iterdir()) == sorted(item.sha256 for item in pinned.inputs)


def test_what_vanished_is_named_with_its_hash_and_a_remedy(archive: Archive, cache: Cache) -> None:
    for name, item in (("liby", pins()[1]), ("w", pins()[2])):
        (archive.served / name).unlink()
        with pytest.raises(UsageError) as caught:
            fetch.fetch(synthetic.lock(*pins()), cache, lambda _: None)
        assert f"{name} 1 cannot be fetched" in caught.value.what
        assert caught.value.where == f"SHA-256 {item.sha256}"
        assert str(cache.place / item.sha256) in caught.value.hint
        assert "tools/image_inputs.py" in caught.value.hint
        cache.put(item, OTHER if name == "liby" else WHEEL, "by hand")  # the remedy
    fetch.fetch(synthetic.lock(*pins()), cache, lambda _: None)


def test_something_else_is_refused(archive: Archive, cache: Cache) -> None:
    (archive.served / "libx").write_bytes(b"deb of evil")
    with pytest.raises(UsageError, match="libx 1 is not what the lock names"):
        fetch.fetch(synthetic.lock(*pins()), cache, lambda _: None)
    assert not cache.has(pins()[0])


def test_a_changed_file_of_the_cache_is_refused(archive: Archive, cache: Cache) -> None:
    del archive
    item = pins()[0]
    cache.put(item, DEB, "here")
    (cache.place / item.sha256).write_bytes(DEB[:-1] + b"!")
    with pytest.raises(UsageError, match="not what the lock names") as caught:
        cache.read(item)
    assert caught.value.where == str(cache.place / item.sha256)
    (cache.place / item.sha256).write_bytes(DEB[:-1])
    assert not cache.has(item)  # another size: fetched again


def test_an_archive_that_cannot_be_reached(archive: Archive, cache: Cache) -> None:
    (archive.served / "down").touch()
    for items, words in ((pins()[:2], "archive cannot be read: E: no network"), (pins()[2:], "connection broken")):
        with pytest.raises(UsageError, match=words) as caught:
            fetch.fetch(synthetic.lock(*items), cache, lambda _: None)
        assert "http_proxy" in caught.value.hint
        assert "tools/image_inputs.py" not in caught.value.hint  # nothing is gone: there is nothing to pin anew


def test_what_arrived_before_an_interruption_is_kept(archive: Archive, cache: Cache) -> None:
    (archive.served / "liby").unlink()
    with pytest.raises(UsageError, match="liby 1 cannot be fetched"):
        fetch.fetch(synthetic.lock(*pins()), cache, lambda _: None)
    assert cache.read(pins()[0]) == DEB


def test_without_debians_keys_nothing_is_fetched(
    archive: Archive, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "KEYRING", "/nonexistent/keys.gpg")
    with pytest.raises(UsageError, match="Debian's keys") as caught:
        fetch.fetch(synthetic.lock(*pins()), cache, lambda _: None)
    assert "debian-archive-keyring" in caught.value.hint
    assert not archive.asked()


def test_no_room_to_work_in_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "fetch", full)
    with pytest.raises(UsageError, match="no space left") as caught:
        build.made(lock.read(), cache, lambda _: None, debug=False)
    assert "TMPDIR" in caught.value.hint


def test_no_client(archive: Archive, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    del archive
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="apt-get is not installed"):
        fetch.fetch(synthetic.lock(*pins()), cache, lambda _: None)


def test_committed_lock_is_whole() -> None:
    pinned, chosen = lock.read(), lock.choice()
    assert len({item.sha256 for item in pinned.inputs}) == len(pinned.inputs)
    assert all(len(item.sha256) == 64 and item.licence and item.source and item.size for item in pinned.inputs)
    assert set(chosen.wheels) == {item.name for item in pinned.of("wheel")}
    constraints = (Path(__file__).resolve().parents[2] / "constraints.txt").read_text().lower().splitlines()
    assert not [item for item in pinned.of("wheel") if f"{item.name}=={item.version}" not in constraints]
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
    assert project["project"]["optional-dependencies"]["image"] == [f"zstandard=={pinned.zstandard}"]


def test_another_compressor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import zstandard

    build.compressor(synthetic.lock())
    monkeypatch.setattr(zstandard, "__version__", "0.1")
    with pytest.raises(UsageError, match=r"here is 0\.1"):
        build.compressor(lock.read())
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UsageError, match="here is none") as caught:
        build.compressor(lock.read())
    assert "fastness[image]" in caught.value.hint
