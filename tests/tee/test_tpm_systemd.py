"""What systemd measures once the firmware's log has ended: words that are known, and nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from fastness.claims.finding import Outcome
from fastness.claims.genuine import Genuine
from fastness.errors import NotGenuine
from fastness.forge import tpm as forge
from fastness.forge.model import Forged
from fastness.tee import tpm
from fastness.tee.tpm.verify import Proven
from fastness.wire import eventlog

LINUX = forge._event(11, eventlog.EV_IPL, ".linux\0".encode("utf-16-le"), b"forged kernel")


def judge(forged: Forged) -> Genuine[Proven]:
    return tpm.verify(tpm.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)


def after_the_log(monkeypatch: pytest.MonkeyPatch, words: dict[int, tuple[bytes, ...]], bank: str = "sha256") -> Forged:
    """A quote of registers that were extended by ``words`` after the firmware's log had ended."""
    plain = forge._boot

    def later(*given: Any) -> tuple[bytes, dict[int, bytes]]:
        log, registers = plain(*given)
        log += LINUX
        registers |= {11: eventlog.replay(eventlog.parse(log), bank)[11]}
        for index, said in words.items():
            for word in said:
                registers[index] = eventlog.extend(registers[index], hashlib.new(bank, word).digest(), bank)
        return log, registers

    monkeypatch.setattr(forge, "_boot", later)
    return forge.make({"trust": "key", "bank": bank})


@pytest.mark.parametrize(
    "words",
    [
        {},
        {11: (b"enter-initrd",)},
        {11: (b"enter-initrd", b"leave-initrd", b"sysinit", b"ready")},
        {11: (b"sysinit", b"ready"), 4: (b"os-separator",), 9: (b"os-separator",)},
    ],
)
@pytest.mark.parametrize("bank", ["sha256", "sha384"])
def test_systemd_goes_on_where_the_log_ends(
    words: dict[int, tuple[bytes, ...]], bank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = judge(after_the_log(monkeypatch, words, bank))
    told = next(item for item in genuine.findings if item.check == "tpm.event-log")
    assert told.outcome is Outcome.HELD
    assert told.actual.partition("PCR ")[2] == ", ".join(map(str, sorted(words)))
    assert "pcr11" in tpm.claims(genuine).extra["replayed"]


@pytest.mark.parametrize(
    "words",
    [
        {11: (b"ready",)},
        {11: (b"enter-initrd", b"sysinit")},
        {11: (b"enter-initrd", b"leave-initrd", b"sysinit", b"ready", b"shutdown")},
        {11: (b"enter-initrd\0",)},
        {8: (b"os-separator",)},
        {4: (b"os-separator", b"os-separator")},
        {7: (b"sysinit",)},
    ],
)
def test_anything_else_after_the_log_is_not_explained(
    words: dict[int, tuple[bytes, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotGenuine) as caught:
        judge(after_the_log(monkeypatch, words))
    assert caught.value.check == "tpm.event-log" and caught.value.what.endswith(f"PCR {next(iter(words))}")
