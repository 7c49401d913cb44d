"""Platform ``sev``: the image in an AMD SEV-ES machine, whose tenant checks the launch and gives the first secret.

Nothing is started for nobody: without a tenant's session a launch proves nothing, so there is no launch without
one, and a session serves one. Between host and tenant lies a folder (``--exchange``)::

    session, dh certificate ─▶ QEMU, stopped before its first instruction
    measurement.json        ◀─ LAUNCH_MEASURE (fastness/sev-measurement/v1)
    secret.json             ─▶ {"header", "data"}, base64: LAUNCH_SECRET, then the machine runs

Sources: QEMU ``qapi/qom.json`` (SevGuestProperties), ``qapi/misc-i386.json`` (``query-sev``,
``query-sev-launch-measure``, ``sev-inject-launch-secret``); AMD 55766. The tenant's side is in ``docs/amd-launch.md``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from fastness.errors import KeepFailed, MalformedEvidence, UsageError
from fastness.host.launch import confidential, guard, qemu
from fastness.host.launch.confidential import Confidential, Facts, Port
from fastness.host.launch.qemu import Guest
from fastness.host.launch.qmp import Monitor
from fastness.host.machine import Need
from fastness.tee.sev import launch
from fastness.tee.sev import layout as at

POLICY = 0x7
"""No debugging, no key sharing, SEV-ES (AMD 55766, chapter 3)."""

DEBUG_FORBIDDEN, ES = 1 << 0, 1 << 2
FIRMWARE_API = (0, 17)
"""Least firmware that Linux knows SEV-ES with."""

CPU = "EPYC-v4"
QEMU = (8, 1)
"""The first that knows this model."""

GODH_SIZE, SESSION_SIZE = 2084, 128
MEASUREMENT, SECRET = "measurement.json", "secret.json"
PATIENCE = 300.0
"""Seconds that a tenant has to check the measurement and send a secret."""

PAUSE = 0.2
MAX_SECRET = 16 * 1024


class Launcher(Confidential):
    """Starts ``sev`` machines, one for each session."""

    name = "sev"
    takes = frozenset({"cpu", "policy", "dh_certificate", "session", "exchange"})
    _used = False

    def needs(self) -> tuple[Need, ...]:
        """Processor, kernel, firmware of both kinds, QEMU."""
        here = self._machine
        return (
            here.flag("sev_es", "SEV-ES"),
            here.c_bit(),
            here.parameter("kvm_amd", "sev"),
            here.parameter("kvm_amd", "sev_es"),
            here.sev_firmware(FIRMWARE_API),
            here.device("/dev/kvm", "switch on virtualisation, load kvm_amd, and let this user open /dev/kvm"),
            confidential.qemu_of(QEMU, "sev-guest"),
            self.firmware_need(),
            *self.reach(),
        )

    def command(self, facts: Facts, port: Port) -> list[str]:
        """QEMU's command line: a machine that stands still until its monitor lets it go."""
        settings, image = self._settings, facts.image
        if settings.boot != "direct":
            raise UsageError("sev boots the image's parts", where="--boot", hint="--boot direct")
        cpu = settings.guard.cpu or CPU
        return [
            *qemu.common(facts.program, settings, "kvm", port.handle, cpu=cpu, cid=port.cid),
            "-object", self.guest(facts), "-machine", "q35,confidential-guest-support=guard",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={qemu.value(facts.firmware)}",
            "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.cmdline,
            "-S", "-chardev", f"socket,id=monitor,fd={port.monitor}", "-mon", "chardev=monitor,mode=control",
        ]  # fmt: skip

    def guest(self, facts: Facts) -> str:
        """The object ``sev-guest``."""
        chosen = self._settings.guard
        if facts.encryption is None:
            raise KeepFailed("the processor has no memory encryption", where="CPUID 0x8000001F")
        if not (chosen.dh_certificate and chosen.session and chosen.exchange):
            raise UsageError(
                "a SEV launch without a tenant's session proves nothing to anybody",
                hint="--dh-certificate FILE --session FILE --exchange FOLDER; docs/amd-launch.md",
            )
        guard.armoured(chosen.dh_certificate, GODH_SIZE, "--dh-certificate")
        guard.armoured(chosen.session, SESSION_SIZE, "--session")
        return ",".join([
            "sev-guest", "id=guard", f"cbitpos={facts.encryption.c_bit}",
            f"reduced-phys-bits={confidential.REDUCED}", f"policy=0x{self._policy(debug=facts.image.debug):x}",
            "kernel-hashes=on", f"dh-cert-file={qemu.value(chosen.dh_certificate)}",
            f"session-file={qemu.value(chosen.session)}",
        ])  # fmt: skip

    def _policy(self, *, debug: bool) -> int:
        chosen = self._settings.guard.policy
        policy = POLICY if chosen is None else chosen
        if policy & at.POLICY_RESERVED or policy >> 32 or not policy & ES or not (debug or policy & DEBUG_FORBIDDEN):
            raise UsageError(
                f"policy 0x{policy:x} is not for SEV-ES without debugging", where="--policy", hint=f"0x{POLICY:x}"
            )
        return policy

    async def launch(self, *, debug: bool = False) -> Guest:
        """A machine that its tenant has measured and given a secret, and that runs from now on.

        Raises:
            KeepFailed: the session was used before, no secret came in time, or QEMU refused it.
        """
        if self._used:
            raise KeepFailed(
                "this session served one launch already",
                where="--session",
                hint="ask the tenant for another; --spare 0",
            )
        ours, theirs = socket.socketpair()
        monitor = Monitor(ours)
        try:
            await asyncio.to_thread(self.check)
            self._used = True
            guest = self.start(theirs.fileno())
            try:
                await hand_over(monitor, Path(self._settings.guard.exchange))
            except BaseException:
                await guest.stop(0)
                raise
            return guest
        finally:
            theirs.close()
            monitor.close()


async def hand_over(monitor: Monitor, exchange: Path) -> None:
    """Measurement out, secret in, and the machine runs."""
    await monitor.greet()
    await asyncio.to_thread(write, exchange / MEASUREMENT, await measured(monitor))
    header, data = await _secret(exchange / SECRET)
    await monitor.do("sev-inject-launch-secret", **{"packet-header": header, "secret": data})
    await monitor.do("cont")


async def measured(monitor: Monitor) -> bytes:
    """The host's document of a launch that waits for its secret.

    Raises:
        KeepFailed: QEMU has none.
    """
    state = await monitor.do("query-sev")
    blob = (await monitor.do("query-sev-launch-measure")).get("data")
    try:
        api = (_small(state, "api-major"), _small(state, "api-minor"))
        return launch.encode(api, _small(state, "build-id"), _small(state, "policy"), base64.b64decode(str(blob)))
    except (ValueError, MalformedEvidence) as error:
        raise KeepFailed(f"QEMU tells of no launch of SEV: {error}", where="query-sev") from None


def _small(state: dict[str, Any], name: str) -> int:
    value = state.get(name)
    if type(value) is not int:
        raise ValueError(f"no {name}")
    return value


async def _secret(place: Path) -> tuple[str, str]:
    """Header and data of the tenant's packet, base64, once the file is there; it is removed."""
    for _ in range(int(PATIENCE / PAUSE)):
        try:
            with place.open("rb") as file:
                words = file.read(MAX_SECRET)
        except FileNotFoundError:
            await asyncio.sleep(PAUSE)
            continue
        place.unlink()
        return packet(words)
    raise KeepFailed(
        f"no secret came within {PATIENCE:g} s", where=str(place), hint="the tenant did not accept the guest"
    )


def packet(words: bytes) -> tuple[str, str]:
    """Header (52 bytes) and data (multiples of 16) of a packet, each in base64.

    Raises:
        KeepFailed: it is none.
    """
    try:
        body = json.loads(words)
        header, data = str(body["header"]), str(body["data"])
        sizes = [len(base64.b64decode(item, validate=True)) for item in (header, data)]
    except (ValueError, KeyError, TypeError, RecursionError):
        sizes, header, data = [0, 0], "", ""
    if sizes[0] != 52 or not sizes[1] or sizes[1] % 16:
        raise KeepFailed("no packet of LAUNCH_SECRET", where=SECRET, hint='{"header": base64, "data": base64}')
    return header, data


def write(place: Path, data: bytes) -> None:
    """The whole of a file, or none of it."""
    new = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        new.write_bytes(data)
        os.replace(new, place)  # noqa: PTH105
    except OSError as error:
        new.unlink(missing_ok=True)
        raise KeepFailed(f"cannot be written: {(error.strerror or '').lower()}", where=str(place)) from None
