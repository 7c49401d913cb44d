"""Wrong use of every kind is told with its field, its place and a remedy; what was asked for is never left out."""

from __future__ import annotations

import io
import json
import os
import pwd
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from service import serving

import fastness
from fastness.cli.main import main
from fastness.collateral import gather as gathering
from fastness.collateral import wanted
from fastness.collateral.store import Entry, Store, store
from fastness.errors import UsageError
from fastness.forge import snp
from fastness.wire import pem

AT = snp.AT.strftime("%Y-%m-%dT%H:%M:%SZ")
FOLDERS = ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOLDERS:
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("FASTNESS_OWNERS", wanted.KDS):  # an option of `collateral fetch` sets the second
        monkeypatch.setenv(name, "")


@pytest.fixture
def evidence(tmp_path: Path) -> list[str]:
    """A forged report, and the words that have it verified."""
    made, folder = snp.make({}), tmp_path / "evidence"
    folder.mkdir()
    (folder / "report").write_bytes(made.evidence)
    (folder / "chain").write_bytes(pem.armour("CERTIFICATE", [item.raw for item in made.collateral.certificates]))
    (tmp_path / "root").write_bytes(pem.armour("CERTIFICATE", [snp.vendor("genoa")[0].value.raw]))
    return [str(folder), "--at", AT, "--anchors", f"snp:{tmp_path / 'root'}", "--offline"]


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user: a number without a name, and nothing in the environment."""

    def unknown(number: int) -> Any:
        raise KeyError(number)

    for name in FOLDERS:
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(words)
    return code, capsys.readouterr().err


def test_without_a_home_evidence_is_verified(evidence: list[str], homeless: None) -> None:
    """It asks the cache, which is nowhere: strict wants lists of revoked certificates."""
    assert main(["verify", *evidence]) == 0
    assert main(["verify", *evidence, "--policy", "strict"]) == 1
    assert store().evaluation("tdx/f/r", 5, datetime.now(UTC)) is None
    store().put(Entry("k", "u", AT, AT, (b"",)))
    assert not list(store().entries())


@pytest.mark.parametrize(
    "words",
    [["collateral", "show"], ["evidence", "ear-key"], ["keep", "stop", "0"], ["policy", "plan", "strict"]],
    ids=" ".join,
)
def test_without_a_home_what_needs_one_says_so(
    words: list[str], homeless: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(words, capsys)
    assert code == 2
    assert said.startswith("error: this user has no home folder\n  where XDG_")
    assert "\n  hint set HOME, or XDG_" in said


@pytest.mark.parametrize(
    "words",
    [["image", "measure", "--sign", ""], ["image", "build", "--output", ""], ["image", "build", "--inputs", ""]],
    ids=" ".join,
)
def test_an_empty_name_signs_nothing_and_builds_nowhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """``--sign "$KEY"`` without the variable wrote reference values that nobody signed."""
    code, said = told(words, capsys)
    assert code == 2
    assert f"error: an empty name\n  where {words[2]}\n" in said


@pytest.mark.parametrize("option", ["--owners", "--html", "--ear", "--ear-key", "--policy", "--anchors"])
def test_an_empty_name_is_no_name(option: str, evidence: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """``--owners "$OWNERS"`` without the variable took any policy, signed or not; a page went nowhere."""
    more = ["--policy", "strict"] if option == "--owners" else ["--ear", os.devnull] if option == "--ear-key" else []
    code, said = told(["verify", *evidence, *more, option, ""], capsys)
    assert code == 2
    assert f"error: an empty name\n  where {option}\n  hint {option} " in said


def test_an_option_whose_default_is_empty_may_be_empty() -> None:
    from fastness.cli.parsing import Parser

    parser = Parser()
    parser.add_argument("--firmware", metavar="FILE", default="")
    assert parser.parse_args([]).firmware == parser.parse_args(["--firmware", ""]).firmware == ""


@pytest.mark.parametrize("place", ["root/page", "x" * 300])
def test_a_page_where_none_can_be(
    place: str, evidence: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = told(["verify", *evidence, "--html", str(tmp_path / place)], capsys)
    assert code == 2
    assert "error: cannot be written: " in said and f"where {tmp_path / place}" in said


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    evidence: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = Path(evidence[0], "crls")
    inner.mkdir()
    scan = os.scandir

    def closed(path: str) -> Any:
        if Path(path) == inner:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    code, said = told(["verify", *evidence], capsys)
    assert code == 0
    assert f"ignored {inner}: cannot be read: permission denied" in said
    code, said = told(["verify", str(inner), *evidence], capsys)
    assert (code, said) == (
        2,
        f"error: cannot be read: permission denied\n  where {inner}\n  hint make it readable to you\n",
    )


def test_what_is_too_deep_is_told(tmp_path: Path) -> None:
    deep = tmp_path / "/".join("abcdefghij")
    deep.mkdir(parents=True)
    (deep / "report").write_bytes(snp.make({}).evidence)
    found = gathering.gather([str(tmp_path)])
    assert not found.evidence
    assert found.ignored[0].why == f"deeper than {gathering.MAX_FOLDERS} folders"


@pytest.mark.parametrize("words", [["verify"], ["evidence", "show"], ["collateral", "fetch"]], ids=" ".join)
def test_an_empty_folder_is_wrong_use(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    code, said = told([*words, str(tmp_path / "empty")], capsys)
    assert code == 2
    assert said.startswith("error: nothing was given, or empty folders\n  where PATH\n  hint ")


def test_show_says_what_was_left_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "words").write_text("no evidence")
    code, said = told(["evidence", "show", str(tmp_path / "words")], capsys)
    assert code == 3
    assert f"ignored {tmp_path / 'words'}: neither evidence nor collateral" in said


# services


@pytest.mark.parametrize(
    "address", ["ftp://x", "x", "http://[::1", "http://a:b", "http://a:65536", "http://a:0", "https:"]
)
def test_an_address_that_is_none(address: str, evidence: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = told(["collateral", "fetch", evidence[0], "--kds", address], capsys)
    assert code == 2
    assert said == (
        f"error: not an http address: {address!r}\n  where FASTNESS_KDS_URL\n  hint such as https://kdsintf.amd.com\n"
    )


def test_an_address_with_a_path_and_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wanted.PCS, "http://[::1]:8081/pccs/")
    assert wanted.base(wanted.PCS) == "http://[::1]:8081/pccs"


def test_nothing_is_fetched_for_a_cache_that_cannot_keep_it(
    evidence: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It said that all was in the cache."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with serving() as service:
        code, said = told(["collateral", "fetch", evidence[0], "--kds", service.url], capsys)
        assert not service.asked
    assert code == 2
    assert "error: the cache cannot be written: " in said and f"where {tmp_path / 'file' / 'fastness'}" in said
    place = Store(tmp_path / "cache")
    place.writable()
    assert not list(place.place.iterdir())


def test_a_failure_to_fetch_has_its_hint(evidence: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as service:
        code, said = told(["collateral", "fetch", evidence[0], "--kds", service.url], capsys)
    assert code == 6
    assert "is not there (status 404)\n  hint the service does not know this machine\n" in said


def test_a_mirror_that_lags_is_told(evidence: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """All was in the cache, and none of it of any use."""
    for kind, late in (("stale", True), ("good", False)):
        made = snp.make({"crl": kind})
        chip = made.evidence[0x1A0:0x1E0].hex()
        Path(evidence[0], "report").write_bytes(made.evidence)
        lists = pem.armour("X509 CRL", [item.raw for item in made.collateral.crls])
        with serving() as service:
            service.say("/vcek/v1/Genoa/crl", lists)
            words = ["collateral", "bundle", evidence[0], "--kds", service.url, "--at", AT, "--output", os.devnull]
            _, said = told(words, capsys)
            assert any(chip in asked for asked in service.asked)
        assert (f"of no use at {AT}: {service.url}/vcek/v1/Genoa/crl gave what has run out" in said) is late


def test_a_bundle_is_written_whole(
    evidence: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "bundle.json"
    words = ["collateral", "bundle", evidence[0], "--offline", "--at", AT, "--output", str(place)]
    place.write_text("the one before")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code, said = told(words, capsys)
    assert code == 2
    assert "cannot be written: no space left on device" in said
    assert place.read_text() == "the one before"
    main(words)
    assert json.loads(place.read_text())["at"] == AT


def test_a_file_system_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``evidence collect`` said that the machine offered no evidence."""
    code, said = told(["evidence", "collect", "--root", str(tmp_path / "absent")], capsys)
    assert (code, said.splitlines()[:2]) == (2, ["error: no such folder", "  where --root"])


# the batch


def batch(words: list[str], lines: list[dict[str, Any]], monkeypatch: Any, capsys: Any) -> tuple[int, list[Any], str]:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code = main(["verify", "--batch", *words])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["--at", "soon"], "--at"), (["--nonce", "xx"], "--nonce"), (["--report-data", "xx"], "--report-data"),
        (["--nonce", "aa", "--report-data", "bb"], "nonce"), (["--owners", "absent"], "--owners"), (["x"], "x"),
    ],
)  # fmt: skip
def test_options_that_can_hold_for_no_line_are_told_at_once(
    words: list[str], where: str, monkeypatch: Any, capsys: Any
) -> None:
    """They were told once for each line, or never."""
    code, replies, said = batch(words, [{"paths": []}], monkeypatch, capsys)
    assert (code, replies) == (2, [])
    assert f"\n  where {where}\n  hint " in said


def test_the_time_of_a_bundle_in_a_batch(evidence: list[str], tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    place = str(tmp_path / "bundle.json")
    main(["collateral", "bundle", evidence[0], "--offline", "--at", AT, "--output", place])
    capsys.readouterr()
    lines = [{"paths": [place]}, {"paths": [evidence[0]]}, {"paths": [evidence[0]], "at": AT}]
    code, replies, _ = batch(["--at", "bundle", "--offline", *evidence[3:5]], lines, monkeypatch, capsys)
    assert code == 0
    assert [item["exit_code"] for item in replies] == [0, 2, 0]
    assert (replies[0]["at"], replies[1]["error"]["where"]) == (AT, "at")


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ({"paths": "x"}, "paths"), ({"evidence": [1]}, "evidence"), ({"evidence": ["?"]}, "evidence"),
        ({"paths": ["-"]}, "paths"), ({"at": 5}, "at"), ({"paths": [], "at": "soon"}, "at"), ({"pathes": []}, "pathes"),
    ],
)  # fmt: skip
def test_a_line_that_is_wrong_says_where(line: dict[str, Any], where: str, monkeypatch: Any, capsys: Any) -> None:
    code, (reply,), _ = batch(["--offline"], [line], monkeypatch, capsys)
    assert (code, reply["exit_code"], reply["error"]["where"]) == (0, 2, where)
    assert reply["error"]["hint"]


# Python


def test_names_may_be_paths_and_bytes_of_any_kind(evidence: list[str], tmp_path: Path) -> None:
    made, anchors = snp.make({}), tmp_path / "root"
    whole: dict[str, Any] = {"at": snp.AT, "anchors": anchors}
    chain = Path(evidence[0], "chain")
    for source in (made.evidence, bytearray(made.evidence), memoryview(made.evidence)):
        assert fastness.verify(source, chain, **whole).exit_code in (0, 4)
    assert fastness.verify(Path(evidence[0]), **whole).exit_code == 0
    assert fastness.verify(evidence[0], at=snp.AT, anchors=str(anchors)).exit_code == 0
    assert fastness.verify(evidence[0], at=snp.AT, anchors=[anchors]).exit_code == 0
    policy = tmp_path / "none.toml"
    policy.touch()
    assert fastness.verify(evidence[0], policy=policy, **whole).exit_code == 1


@pytest.mark.parametrize(
    ("named", "where"),
    [
        ({"nonce": b""}, "nonce"), ({"report_data": b""}, "report_data"), ({"policy": 3}, "policy"),
        ({"anchors": 3}, "anchors"), ({"anchors": [3]}, "anchors"), ({"at": datetime(2026, 1, 1)}, "at"),
        ({"at": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "at"), ({"policy": ""}, "''"),
        ({"nonce": b"1", "report_data": b"1"}, "nonce"),
    ],
)  # fmt: skip
def test_arguments_of_another_kind(named: dict[str, Any], where: str, evidence: list[str]) -> None:
    """An empty report_data was padded to zeros: the evidence of a guest that was asked for nothing."""
    with pytest.raises(UsageError) as caught:
        fastness.verify(evidence[0], **named)
    assert caught.value.where == where and caught.value.hint


@pytest.mark.parametrize("source", [None, 3, ["x"]])
def test_sources_of_another_kind(source: Any) -> None:
    with pytest.raises(UsageError) as caught:
        fastness.verify(source)
    assert caught.value.where == "sources" and caught.value.hint


def test_a_closed_pipe_behind_a_bundle(evidence: list[str]) -> None:
    """It was told as a file that cannot be written, with exit code 2."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "fastness", "collateral", "bundle", evidence[0], "--offline", "--at", AT]
    ended = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_what_is_named_twice_is_left_aside_once(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("no evidence")
    assert len(gathering.gather([str(tmp_path), str(tmp_path)]).ignored) == 1


def test_what_may_not_be_read_is_to_be_made_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report").touch()

    def closed(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(gathering.os, "open", closed)
    code, said = told(["verify", str(tmp_path / "report")], capsys)
    assert (code, said.splitlines()[-1]) == (2, "  hint make it readable to you")


def test_a_device_that_is_not_there_has_a_hint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = told(["evidence", "collect", "--device", "nsm", "--root", str(tmp_path)], capsys)
    assert code == 7
    assert "\n  hint is it there, and open to you?" in said


def test_a_year_before_1000_has_four_digits(evidence: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", *evidence, "--at", "0001-01-01", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["at"] == "0001-01-01T00:00:00Z"
    assert "not valid at 0001-01-01T00:00:00Z" in json.dumps(said)
