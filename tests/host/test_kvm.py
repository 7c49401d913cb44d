"""What is remembered of KVM: success for this boot, failure for a while, half a word never."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fastness.host.launch import kvm
from fastness.host.launch.qemu import Program


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers of trials to come; asking beyond them fails the test."""
    answers: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(kvm, "DEVICE", device)
    monkeypatch.setattr(kvm, "_try", lambda *_: answers.pop(0))
    return answers


def ask(tmp_path: Path) -> str:
    for name in ("vmlinuz", "initrd"):
        if not (tmp_path / name).exists():
            (tmp_path / name).touch()
    return kvm.trouble(Program("/usr/bin/qemu", (9, 0)), tmp_path / "vmlinuz", tmp_path / "initrd")


def memory(tmp_path: Path) -> Path:
    return next((tmp_path / "fastness").glob("kvm-*"))


def test_success_is_remembered_for_this_boot(trial: list[str], tmp_path: Path) -> None:
    trial.append("")
    assert ask(tmp_path) == ""
    os.utime(memory(tmp_path), (1, 1))
    assert ask(tmp_path) == ""


def test_failure_is_remembered_for_a_while_and_then_looked_into_again(trial: list[str], tmp_path: Path) -> None:
    trial += ["a guest hangs", ""]
    assert ask(tmp_path) == "a guest hangs"
    assert ask(tmp_path) == "a guest hangs"
    past = time.time() - kvm.RETRY - 1
    os.utime(memory(tmp_path), (past, past))
    assert ask(tmp_path) == ""


@pytest.mark.parametrize("rest", ["", "it", "it works\n", "nonsense"])
def test_half_a_word_is_no_success(trial: list[str], tmp_path: Path, rest: str) -> None:
    trial += ["a guest hangs", "a guest still hangs"]
    ask(tmp_path)
    memory(tmp_path).write_text(rest)
    assert ask(tmp_path) == "a guest still hangs"


def test_what_cannot_be_remembered_is_told_all_the_same(
    trial: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    trial += ["a guest hangs", "a guest hangs"]
    assert [ask(tmp_path), ask(tmp_path)] == ["a guest hangs", "a guest hangs"]
    assert not list((tmp_path / "fastness").iterdir())
