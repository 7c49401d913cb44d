"""Platform ``sgx``: the keep as a Gramine enclave. What starting it takes is here; starting it is refused.

Gramine gives a process files of the image, each by its hash, and ``/dev/attestation``; it passes no descriptors between
processes, and the keep is two (PID 1, which holds the device, hands connections to the other). Until the keep has an
entry for one process, an enclave of it could take no connection, so none is started.
"""

from __future__ import annotations

from functools import cached_property
from typing import NoReturn

from fastness.errors import KeepFailed, UsageError
from fastness.host.launch import Root
from fastness.host.launch.qemu import Settings
from fastness.host.machine import Machine, Need, demand, met
from fastness.image import gramine
from fastness.image.store import Image, load

PROGRAM = "gramine-sgx"
QUOTES = "var/run/aesmd/aesm.socket"
ENTRY = "usr/lib/fastness/fastness/keep/enclave.py"
"""What a keep for one process would begin with."""

LEAST_SIZE = 256


class Launcher:
    """Knows how an ``sgx`` keep would be started."""

    name = "sgx"

    def __init__(self, settings: Settings | None = None, machine: Machine | None = None) -> None:
        self._settings = (settings or Settings()).checked()
        self._settings.guard.only(self.name, frozenset())
        if self._settings.firmware or self._settings.boot != "direct" or self._settings.accelerator != "auto":
            raise UsageError("an enclave has no firmware, no other way to boot and no emulation", where="sgx")
        self._machine = machine or Machine()

    @cached_property
    def _image(self) -> Image:
        return load(self._settings.image)

    def needs(self) -> tuple[Need, ...]:
        """Processor, driver, permission to make quotes, the service that signs them, Gramine, the keep's entry."""
        here = self._machine
        socket = here.exists(QUOTES)
        return (
            here.flag("sgx", "SGX"),
            here.flag("sgx_lc", "launch control"),
            here.device("/dev/sgx_enclave", "switch SGX on in the firmware's settings, Linux 5.11 or newer"),
            here.device("/dev/sgx_provision", "let this user open it: usermod -aG sgx_prv USER"),
            met("Intel's quoting service", socket, f"/{QUOTES}" if socket else "absent", "install sgx-aesm-service"),
            here.program(PROGRAM, "install gramine from its own repository (gramine.readthedocs.io)"),
            self._entry(),
        )

    def _entry(self) -> Need:
        try:
            files = {path for path, _ in gramine.trusted(self._image.manifest["root"])}
        except UsageError as error:
            return Need("keep image", False, error.what, error.hint)
        there = ENTRY in files
        return met("the keep's entry for one process", there, "there" if there else "not in this version", "none yet")

    def manifest(self) -> str:
        """``keep.manifest`` of the image: what Gramine's tools sign."""
        enclave = gramine.Enclave(
            1 << (max(LEAST_SIZE, self._settings.memory) - 1).bit_length(), debug=self._image.debug
        )
        return gramine.manifest(gramine.trusted(self._image.manifest["root"]), enclave=enclave)

    def command(self) -> list[str]:
        """Gramine's command line, in the folder where the signed manifest lies."""
        return [PROGRAM, gramine.MANIFEST.removesuffix(".manifest")]

    def anchors(self) -> tuple[Root, ...]:
        """None: evidence leads to Intel's root."""
        return ()

    def check(self) -> None:
        """Refuses with the first thing that is missing.

        Raises:
            KeepFailed: always, in this version: at last for want of the keep's entry.
        """
        demand(self.name, self.needs())

    async def launch(self, *, debug: bool = False) -> NoReturn:
        """Refuses.

        Raises:
            KeepFailed: as :meth:`check`.
        """
        del debug
        self.check()
        raise KeepFailed("an enclave of a keep takes no connections yet", where=ENTRY, hint="use another platform")
