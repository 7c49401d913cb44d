"""What a person is told before they wait, and of what they did not name."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastness.cli import keep_status
from fastness.cli.main import main
from fastness.errors import KeepFailed, UsageError
from fastness.host import launch, survey
from fastness.host.launch import Telling, confidential, kvm, nil, qemu, snp, vm
from fastness.host.launch.qemu import Program, Settings
from fastness.tenant import records
from fastness.tenant.remote import address


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The default host, which is not there; no keep is on record."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(keep_status, "DEFAULT_HOST", url)
    return url


@pytest.mark.parametrize("words", [["stop"], ["logs"], ["status"], ["status", "--enforce"]], ids=" ".join)
def test_the_host_of_a_keep_that_is_not_on_record_is_named(
    words: list[str], nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was another host that said it knew of no such keep, or ended one of the same name."""
    assert main(["keep", *words, "abc"]) == 6
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == f"keep abc is not on record here: {nobody} is asked; --host names another host"
    assert not any("on record" in line for line in rest)


@pytest.mark.parametrize("name", ["../../x", "", "a b", "ä", "a" * 65])
@pytest.mark.parametrize("words", [["stop"], ["logs"], ["status"], ["status", "--enforce", "abc"]], ids=" ".join)
def test_what_is_no_id_is_told_before_anybody_is_asked(
    words: list[str], name: str, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keep", *words, name]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: not a keep's id: {name!r}", "  where ID", "  hint see `fastness keep list`",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a", "a" * 64])
def test_ids_of_any_length_are_asked_for(name: str, nobody: str) -> None:
    assert main(["keep", "stop", name]) == 6


@pytest.mark.parametrize("known", ["named", "on record"])
def test_a_host_that_is_known_is_asked_without_a_word(
    known: str, nobody: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--host", nobody] if known == "named" else []
    if not more:
        records.write(records.Record("abc", nobody, "default", (), "00", "2026-01-01T00:00:00Z", "00" * 32))
    assert main(["keep", "stop", "abc", *more]) == 6
    assert capsys.readouterr().err.startswith(f"error: host {nobody} cannot be reached")


@pytest.mark.parametrize("url", ["http://[::1", "http://a:b", "http://a:65536", "https://a", "http://", "http://a/b"])
def test_an_address_of_no_host(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        address(url)
    assert (caught.value.where, bool(caught.value.hint)) == ("--host", True)


def test_a_record_where_none_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    record = records.Record("abc", "http://a", "default", (), "00", "2026-01-01T00:00:00Z", "00" * 32)
    with pytest.raises(UsageError, match="cannot be written") as caught:
        records.write(record)
    assert caught.value.hint
    records.remember("abc", {})


def test_what_a_trial_of_kvm_takes_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``host serve`` and ``platforms`` said nothing for as long as it took."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("kvm", "vmlinuz", "initrd"):
        (tmp_path / name).touch()
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    told: list[str] = []

    def trial(*_: object) -> str:
        assert told, "nothing was said before"
        return "a guest hangs"

    monkeypatch.setattr(kvm, "_try", trial)
    image = SimpleNamespace(kernel=tmp_path / "vmlinuz", initrd=tmp_path / "initrd")
    for module in (vm, confidential, survey):
        monkeypatch.setattr(module, "load", lambda _: image)
    monkeypatch.setattr(qemu, "program", lambda: Program("/usr/bin/qemu", (9, 0)))
    launcher = vm.Launcher(Settings(accelerator="kvm"))
    launcher.tell = told.append
    with pytest.raises(KeepFailed, match="a guest hangs"):
        launcher.check()
    assert [line.partition(":")[0] for line in told] == ["trying whether KVM runs a keep's kernel here"]
    with pytest.raises(KeepFailed, match="a guest hangs"):
        launcher.check()
    survey._kvm(Settings(), told.append)
    assert len(told) == 1
    next((tmp_path / "fastness").glob("kvm-*")).unlink()
    survey._kvm(Settings(), told.append)
    assert len(told) == 2


def test_a_launcher_that_takes_its_time_is_heard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(vm.Launcher(), Telling)
    assert isinstance(snp.Launcher(), Telling)
    assert not isinstance(nil.Launcher(), Telling)

    def slow(*_: object) -> Any:
        made = SimpleNamespace(tell=kvm.quiet)

        def check() -> None:
            made.tell("trying")
            raise KeepFailed("it fails")

        made.check = check
        return made

    monkeypatch.setattr(launch, "load", slow)
    assert main(["host", "serve", "--platform", "vm", "--listen", "127.0.0.1:0"]) == 7
    assert capsys.readouterr().err.startswith("trying\nerror: it fails")


def test_platforms_are_surveyed_aloud(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def slow(*, settings: Settings, tell: Any) -> tuple[()]:
        tell("trying")
        return ()

    monkeypatch.setattr(survey, "survey", slow)
    assert main(["platforms", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == "trying\n"
    assert json.loads(said.out)["platforms"] == []
