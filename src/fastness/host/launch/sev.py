"""Platform ``sev``: the image in an AMD SEV-ES machine, whose tenant attends the launch and gives it its first secret.

Nothing is started for nobody: without a tenant's session a launch proves nothing, so there is no launch without one::

    session, certificate ─▶ QEMU, stopped before its first instruction
    measurement          ◀─ LAUNCH_MEASURE (fastness/sev-measurement/v1)
    header, data         ─▶ LAUNCH_SECRET, then the machine runs

Session and certificate are handed over as descriptors; no file of a tenant's lies on the host.

Sources: QEMU ``qapi/qom.json`` (SevGuestProperties), ``qapi/misc-i386.json`` (``query-sev``,
``query-sev-launch-measure``, ``sev-inject-launch-secret``); AMD 55766. What a tenant does is in ``docs/amd-launch.md``.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fastness.errors import KeepFailed, MalformedEvidence, UsageError
from fastness.host.launch import Session, confidential, qemu
from fastness.host.launch.confidential import Confidential, Facts, Port
from fastness.host.launch.qemu import Guest
from fastness.host.launch.qmp import Monitor
from fastness.host.machine import Need
from fastness.image.measure import Parts, vmsa
from fastness.image.measure import sev as measure
from fastness.tee.sev import evidence, launch
from fastness.tee.sev import layout as at

POLICY = 0x7
"""No debugging, no key sharing, SEV-ES (AMD 55766, chapter 3)."""

DEBUG_FORBIDDEN, ES = 1 << 0, 1 << 2
FIRMWARE_API = (0, 17)
"""Least firmware that Linux knows SEV-ES with."""

CPU = "EPYC-v4"
QEMU = (8, 1)
"""The first that knows this model."""

CERTIFICATE_SIZE, SESSION_SIZE, HEADER_SIZE = 2084, 128, 52


@dataclass(slots=True)
class Standing:
    """A guest that was measured and has not run. ``digest`` is what the host says of it, in hexadecimal."""

    running: Guest
    measurement: bytes
    digest: str
    monitor: Monitor

    async def inject(self, header: str, data: str) -> None:
        """Header and data of a packet, base64; then the guest runs, and the monitor is closed.

        Raises:
            UsageError: no packet.
            KeepFailed: the firmware refused it.
        """
        checked(header, data)
        try:
            await self.monitor.do("sev-inject-launch-secret", **{"packet-header": header, "secret": data})
            await self.monitor.do("cont")
        finally:
            self.close()

    def close(self) -> None:
        """Closes the monitor: nothing can be asked of the machine any more."""
        self.monitor.close()


class Launcher(Confidential):
    """Starts ``sev`` machines, one for each session."""

    name = "sev"
    takes = frozenset({"cpu", "policy", "chain"})

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
            "-object", self.guest(facts, port), "-machine", "q35,confidential-guest-support=guard",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={qemu.value(facts.firmware)}",
            "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.cmdline,
            "-S", "-chardev", f"socket,id=monitor,fd={port.monitor}", "-mon", "chardev=monitor,mode=control",
        ]  # fmt: skip

    def guest(self, facts: Facts, port: Port) -> str:
        """The object ``sev-guest``."""
        if facts.encryption is None:
            raise KeepFailed("the processor has no memory encryption", where="CPUID 0x8000001F")
        return ",".join([
            "sev-guest", "id=guard", f"cbitpos={facts.encryption.c_bit}",
            f"reduced-phys-bits={confidential.REDUCED}", f"policy=0x{self._policy(debug=facts.image.debug):x}",
            "kernel-hashes=on", f"dh-cert-file=/dev/fd/{port.certificate}", f"session-file=/dev/fd/{port.session}",
        ])  # fmt: skip

    def _policy(self, *, debug: bool) -> int:
        chosen = self._settings.guard.policy
        policy = POLICY if chosen is None else chosen
        if policy & at.POLICY_RESERVED or policy >> 32 or not policy & ES or not (debug or policy & DEBUG_FORBIDDEN):
            raise UsageError(
                f"policy 0x{policy:x} is not for SEV-ES without debugging", where="--policy", hint=f"0x{POLICY:x}"
            )
        return policy

    def check(self) -> None:
        """As every confidential platform's; and the platform's certificates can be read."""
        super().check()
        self._chain()

    def _chain(self) -> bytes:
        """The certificates of this platform, one after the other."""
        place = self._settings.guard.chain
        if not place:
            raise UsageError(
                "a tenant needs the certificates of this platform",
                where="--chain",
                hint="sevctl export --full FILE, then --chain FILE",
            )
        data = Path(place).read_bytes() if Path(place).is_file() else b""
        kinds = {kind for kind, _ in evidence.split(data)}
        if lacking := {"ark", "ask", "cek", "pek", "pdh"} - kinds:
            raise UsageError(
                f"no {', '.join(sorted(lacking))} among the certificates", where=place, hint="sevctl export --full FILE"
            )
        return data

    def platform(self) -> dict[str, object]:
        """For tenants: certificates in base64, and the policy that guests are launched with here."""
        return {
            "certificates": base64.b64encode(self._chain()).decode(),
            "policy": self._policy(debug=self._facts.image.debug),
        }

    @cached_property
    def _digest(self) -> str:
        facts = self._facts
        image = facts.image
        parts = Parts(image.kernel.read_bytes(), image.initrd.read_bytes(), image.cmdline)
        model = vmsa.processor(self._settings.guard.cpu or CPU)
        firmware = confidential.read(facts.firmware)
        return measure.launch_digest(firmware, parts, vcpus=self._settings.vcpus, cpu=model).hex()

    async def launch(self, *, debug: bool = False) -> Guest:
        """Never: see :meth:`stand`."""
        raise UsageError(
            "a SEV launch without a tenant's session proves nothing to anybody",
            hint="fastness deploy --platform sev; a host keeps none of them ready (--spare 0)",
        )

    async def stand(self, session: Session) -> Standing:
        """A machine for ``session`` that was measured, and stands before its first instruction.

        Raises:
            UsageError: no session.
            KeepFailed: QEMU or the firmware refused it.
        """
        if (len(session.certificate), len(session.blob)) != (CERTIFICATE_SIZE, SESSION_SIZE):
            raise UsageError(f"a session has a certificate of {CERTIFICATE_SIZE} bytes and keys of {SESSION_SIZE}")
        await asyncio.to_thread(self.check)
        digest = await asyncio.to_thread(lambda: self._digest)
        handles = [_handle(item) for item in (session.certificate, session.blob)]
        ours, theirs = socket.socketpair()
        monitor = Monitor(ours)
        guest = None
        try:
            guest = self.start(theirs.fileno(), *handles)
            theirs.close()  # so that a QEMU that dies is a monitor that is gone
            await monitor.greet()
            return Standing(guest, await measured(monitor), digest, monitor)
        except BaseException as error:
            monitor.close()
            if guest is not None:
                await guest.stop(0)
                if isinstance(error, KeepFailed) and not error.where:
                    error.where = guest.last_words()
            raise
        finally:
            theirs.close()
            for handle in handles:
                os.close(handle)


def _handle(data: bytes) -> int:
    """A descriptor whose file holds ``data`` in base64, as QEMU reads it."""
    handle = os.memfd_create("session")
    os.write(handle, base64.b64encode(data))
    return handle


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


def checked(header: str, data: str) -> None:
    """Refuses what is no packet: header of 52 bytes, data of multiples of 16, each in base64.

    Raises:
        UsageError: it is none.
    """
    try:
        sizes = [len(base64.b64decode(item, validate=True)) for item in (header, data)]
    except ValueError:
        sizes = [0, 0]
    if sizes[0] != HEADER_SIZE or not sizes[1] or sizes[1] % 16:
        raise UsageError("no packet of LAUNCH_SECRET", hint='{"header": base64, "data": base64}')
