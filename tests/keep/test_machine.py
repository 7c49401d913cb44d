"""Which drivers PID 1 loads: those of devices that are there, and what these bring to light."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from fastness.keep import machine

ALIASES = [
    ("acpi*:LNRO0005:*", "virtio_mmio"),
    ("virtio:d00000013v*", "vmw_vsock_virtio_transport"),
    ("platform:sev-guest", "sev_guest"),
    ("cpu:type:x86,ven*fam*mod*:feature:*0116*", "tdx_guest"),
    ("virtio:d00000021v*", "nsm"),
]
PLAIN = "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0001,0115,0117"


@pytest.mark.parametrize(
    ("device", "driver"),
    [
        ("acpi:LNRO0005:", "virtio_mmio"),
        ("virtio:d00000013v00001AF4", "vmw_vsock_virtio_transport"),
        ("platform:sev-guest", "sev_guest"),
        ("cpu:type:x86,ven0000fam0006mod008F:feature:,0000,0115,0116,0117", "tdx_guest"),
        ("virtio:d00000021v00001AF4", "nsm"),
    ],
)
def test_a_device_has_its_driver_and_no_other(device: str, driver: str) -> None:
    assert machine.wanted(ALIASES, [PLAIN, "virtio:d00000003v00001AF4", device]) == {driver}


def test_a_machine_of_the_platform_vm_needs_none() -> None:
    assert machine.wanted(ALIASES, [PLAIN, "virtio:d00000003v00001AF4", "acpi:MSFT0101:", ""]) == set()


def test_a_bus_is_looked_at_again_after_its_driver_and_the_door_is_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = ["acpi:LNRO0005:"]
    loaded: list[str] = []

    def load(name: str, table: object, known: set[str]) -> None:
        known.add(name)
        loaded.append(name)
        devices.append("virtio:d00000021v00001AF4")

    monkeypatch.setattr(machine, "_aliases", lambda folder: ALIASES)
    monkeypatch.setattr(machine, "_table", lambda folder: dict.fromkeys(name for _, name in ALIASES))
    monkeypatch.setattr(machine, "_devices", lambda: list(devices))
    monkeypatch.setattr(machine, "_load", load)
    monkeypatch.setattr(machine, "mount", lambda: loaded.append("mounted"))
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(machine.Path, "write_text", lambda path, text: written.append((str(path), text)))
    machine.load_drivers()
    assert loaded == ["virtio_mmio", "nsm", "mounted"]
    assert written == [("/proc/sys/kernel/modules_disabled", "1")]


def test_a_driver_that_the_image_lacks_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_aliases", lambda folder: ALIASES)
    monkeypatch.setattr(machine, "_table", lambda folder: {})
    monkeypatch.setattr(machine, "_devices", lambda: ["platform:sev-guest"])
    done: list[str] = []
    monkeypatch.setattr(machine, "mount", lambda: done.append("mounted"))
    monkeypatch.setattr(machine.Path, "write_text", lambda path, text: done.append(str(path)))
    machine.load_drivers()
    assert done == ["mounted", "/proc/sys/kernel/modules_disabled"]


def test_the_processor_is_a_device_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, text in (
        ("bus/platform/devices/sev-guest", "platform:sev-guest\n"),
        ("devices/system/cpu", f"{PLAIN}\n"),
    ):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "modalias").write_text(text)
    monkeypatch.setattr(machine, "SYSFS", tmp_path)
    assert machine._devices() == ["platform:sev-guest", PLAIN]


def test_drivers_of_another_release_are_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(machine, "_devices", lambda: ["virtio:d00000021v00001AF4"])
    monkeypatch.setattr(machine, "mount", lambda: done.append("mounted"))
    monkeypatch.setattr(machine, "Path", lambda *parts: tmp_path.joinpath(*(part.strip("/") for part in parts)))
    machine.load_drivers()
    assert done == ["mounted"]


@pytest.mark.parametrize(("place", "order"), [("firmware/acpi", machine.POWER_OFF), ("firmware", machine.RESTART)])
def test_a_machine_without_a_switch_is_restarted(
    place: str, order: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / place).mkdir(parents=True)
    given: list[int] = []

    class Library:
        def reboot(self, order: ctypes.c_int) -> None:
            given.append(order.value)

    monkeypatch.setattr(machine, "SYSFS", tmp_path)
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: Library())
    monkeypatch.setattr(machine.os, "sync", lambda: None)
    monkeypatch.setattr(machine.os, "_exit", given.append)
    machine.power_off()
    assert given == [order, 0]
