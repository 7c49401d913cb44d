from __future__ import annotations

from pathlib import Path

import pytest

from fastness.errors import KeepFailed, Malformed, UsageError
from fastness.keep import stage
from fastness.workload.manifest import Asset, Manifest, Secret
from fastness.workload.written import load_assets

MANIFEST, CONTENT = load_assets(
    Manifest(assets=(Asset("/app/a.txt", "a"), Asset("/b", "b")), secrets=(Secret("key"), Secret("word", "WORD"))),
    lambda source: source.encode() * 3,
)
SECRETS = {"key": b"k", "word": b"w"}


def test_files_are_laid_out_and_closed_to_others(tmp_path: Path) -> None:
    stage.write(tmp_path, MANIFEST, CONTENT, SECRETS)
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"app/a.txt": b"aaa", "b": b"bbb", "secrets/key": b"k"}
    assert (tmp_path / "secrets/key").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize(
    "assets", [{}, {"/b": b"bbb"}, {**CONTENT, "/c": b""}, {**CONTENT, "/b": b"bbB"}, {**CONTENT, "/b": b"bbbb"}]
)
def test_assets_must_be_those_measured(tmp_path: Path, assets: dict[str, bytes]) -> None:
    with pytest.raises(Malformed):
        stage.write(tmp_path, MANIFEST, assets, SECRETS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("secrets", [{}, {"key": b""}, {**SECRETS, "more": b""}])
def test_secrets_must_be_those_declared(tmp_path: Path, secrets: dict[str, bytes]) -> None:
    with pytest.raises(UsageError):
        stage.write(tmp_path, MANIFEST, CONTENT, secrets)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeepFailed, match="cannot be written"):
        stage.write(tmp_path / "file", MANIFEST, CONTENT, SECRETS)


def test_needs_root() -> None:
    assert stage.needs_root(MANIFEST)
    assert not stage.needs_root(Manifest(secrets=(Secret("word", "WORD"),)))
