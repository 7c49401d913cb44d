"""Platform ``tdx``: the image in an Intel TDX trust domain.

The firmware (TDVF) is measured by the module, and measures kernel, command line and initramfs into the runtime
registers itself: any OVMF with TDX metadata will do. Quotes are signed by Intel's quoting enclave, which a service of
the host reaches (QGS, by vsock or a local socket). Sources: QEMU ``docs/system/i386/tdx.rst``, ``qapi/qom.json``
(TdxGuestProperties; 10.1 and newer).
"""

from __future__ import annotations

import json
from pathlib import Path

from fastness.errors import KeepFailed, UsageError
from fastness.host.launch import confidential, guard, qemu
from fastness.host.launch.confidential import Confidential, Facts, Port
from fastness.host.machine import Need, met
from fastness.image.measure.tdx import TDX_METADATA

QUOTES = "vsock:2:4050"
"""Where Intel's service listens unless told otherwise (qgsd, ``/etc/qgs.conf``)."""

IDENTITIES = ("mrconfigid", "mrowner", "mrownerconfig")


class Launcher(Confidential):
    """Starts ``tdx`` keeps."""

    name = "tdx"
    takes = frozenset({*IDENTITIES, "quote_socket"})

    def needs(self) -> tuple[Need, ...]:
        """Processor, kernel, the module, QEMU, firmware, the service that signs."""
        here = self._machine
        return (
            here.flag("tdx_host_platform", "TDX"),
            here.parameter("kvm_intel", "tdx"),
            here.device("/dev/kvm", "switch on virtualisation, load kvm_intel, and let this user open /dev/kvm"),
            here.guests("tdx"),
            confidential.qemu_of((10, 1), "tdx-guest"),
            self.firmware_need(),
            *self.reach(),
            self._quotes(),
        )

    def _quotes(self) -> Need:
        """The service that has quotes signed: a socket file can be seen; on vsock it is only told by asking."""
        address = quotes(self._settings.guard.quote_socket)
        if address["type"] == "unix":
            there = Path(address["path"]).is_socket()
            seen = address["path"] if there else f"no socket at {address['path']}"
            return met("quote generation service", there, seen, "install and start Intel's tdx-qgs")
        there = self._machine.text("sys/module/vsock/initstate") == "live" or self._machine.exists("dev/vsock")
        seen = f"vsock {address['cid']}:{address['port']}, not asked" if there else "this kernel has no vsock"
        return met("quote generation service", there, seen, "load vhost_vsock, or --quote-socket unix:PATH")

    def firmware(self) -> Path:
        """An OVMF with TDX metadata."""
        place = qemu.firmware(self._settings.firmware)
        if confidential.is_igvm(place) or TDX_METADATA not in confidential.read(place).table:
            raise KeepFailed("the firmware has no TDX metadata", where=str(place), hint="apt-get install -y ovmf")
        return place

    def command(self, facts: Facts, port: Port) -> list[str]:
        """QEMU's command line."""
        settings, image = self._settings, facts.image
        command = qemu.common(facts.program, settings, "kvm", port.handle, cpu="host", cid=port.cid)
        command += ["-object", self.guest(), "-machine", "q35,confidential-guest-support=guard,kernel-irqchip=split"]
        command += ["-bios", str(facts.firmware)]
        if settings.boot == "uki":
            return [*command, "-kernel", str(image.uki)]
        return [*command, "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.cmdline]

    def guest(self) -> str:
        """The object ``tdx-guest``, as JSON: its socket is an address, not a word."""
        chosen = self._settings.guard
        words: dict[str, object] = {"qom-type": "tdx-guest", "id": "guard"}
        words |= {name: guard.encoded(text) for name in IDENTITIES if (text := getattr(chosen, name))}
        return json.dumps(words | {"quote-generation-socket": quotes(chosen.quote_socket)})


def quotes(text: str) -> dict[str, str]:
    """The address of the service as QEMU's SocketAddress.

    Raises:
        UsageError: it is none.
    """
    kind, _, rest = (text or QUOTES).partition(":")
    cid, _, port = rest.partition(":")
    if kind == "unix" and rest.startswith("/"):
        return {"type": "unix", "path": rest}
    if kind == "vsock" and cid.isdecimal() and port.isdecimal():
        return {"type": "vsock", "cid": cid, "port": port}
    raise UsageError(f"not where quotes are made: {text!r}", where="--quote-socket", hint=f"{QUOTES} or unix:/PATH")
