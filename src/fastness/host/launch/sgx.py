"""Platform ``sgx``: the keep as one process of Gramine's in an SGX enclave, reached on the loopback.

Gramine opens the image's files one by one, each by the hash in its signed manifest, so the root is laid out in a folder
of this launcher's. The manifest is signed by Gramine's own tool with this user's key, or was signed elsewhere and lies
in the image's folder (``keep.manifest.sgx``, ``keep.sig``): MRENCLAVE is the same, only MRSIGNER differs. Quotes are
DCAP's, and no launch token is asked for. Nothing is started as ``gramine-direct``, ever: it protects nothing.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from fastness.errors import KeepFailed, MalformedEvidence, UsageError
from fastness.host.launch import Root
from fastness.host.launch.local import Process
from fastness.host.launch.qemu import Settings
from fastness.host.machine import Machine, Need, demand, met
from fastness.image import gramine, root
from fastness.image.measure import sgx
from fastness.image.store import Image, load

PROGRAM = "gramine-sgx"
QUOTES = "var/run/aesmd/aesm.socket"
ENTRY = "usr/lib/fastness/fastness/keep/enclave.py"
"""What the manifest's command line runs."""

INSTALL = "install gramine from its own repository (gramine.readthedocs.io)"


class Launcher:
    """Starts ``sgx`` keeps."""

    name = "sgx"

    def __init__(self, settings: Settings | None = None, machine: Machine | None = None) -> None:
        self._settings = (settings or Settings()).checked()
        self._settings.guard.only(self.name, frozenset())
        if self._settings.firmware or self._settings.boot != "direct" or self._settings.accelerator != "auto":
            raise UsageError("an enclave has no firmware, no other way to boot and no emulation", where="sgx")
        self._machine = machine or Machine()
        self._laying = asyncio.Lock()
        self._folder: Path | None = None

    @cached_property
    def _image(self) -> Image:
        return load(self._settings.image)

    def needs(self) -> tuple[Need, ...]:
        """Processor, driver, permission to make quotes, the service that signs them, Gramine, the keep's entry."""
        here = self._machine
        socket = here.exists(QUOTES)
        unpacks = find_spec("zstandard") is not None
        return (
            here.flag("sgx", "SGX"),
            here.flag("sgx_lc", "launch control"),
            here.device("/dev/sgx_enclave", "switch SGX on in the firmware's settings, Linux 5.11 or newer"),
            here.device("/dev/sgx_provision", "switch SGX on in the firmware's settings, Linux 5.11 or newer"),
            met("Intel's quoting service", socket, f"/{QUOTES}" if socket else "absent", "install sgx-aesm-service"),
            here.program(PROGRAM, INSTALL),
            met("zstandard", unpacks, "there" if unpacks else "absent", "pip install 'fastness[image]'"),
            *self._of_image(),
        )

    def _of_image(self) -> tuple[Need, ...]:
        try:
            files = {path for path, _ in gramine.trusted(self._image.manifest["root"])}
        except UsageError as error:
            return (Need("keep image", False, error.what, error.hint),)
        there = ENTRY in files
        entry = met("the keep's entry for one process", there, "there" if there else "not in this image", "build anew")
        if self._signed():
            return entry, Need("signed enclave", True, str(self._image.folder / gramine.SIGSTRUCT))
        return entry, self._machine.program(gramine.SIGN, f"{INSTALL}, or put {gramine.SIGNED} and {gramine.SIGSTRUCT} "
                                            "into the image's folder")  # fmt: skip

    def _signed(self) -> bool:
        """Whether an enclave that was signed elsewhere lies with the image."""
        return all((self._image.folder / name).is_file() for name in (gramine.SIGNED, gramine.SIGSTRUCT))

    def manifest(self) -> str:
        """``keep.manifest`` of the image: what Gramine's tools sign."""
        enclave = gramine.enclave(self._settings.memory, debug=self._image.debug)
        return gramine.manifest(gramine.trusted(self._image.manifest["root"]), enclave=enclave)

    def command(self) -> list[str]:
        """Gramine's command line, in the folder where the signed manifest lies."""
        return [shutil.which(PROGRAM) or PROGRAM, gramine.MANIFEST.removesuffix(".manifest")]

    def anchors(self) -> tuple[Root, ...]:
        """None: evidence leads to Intel's root."""
        return ()

    def check(self) -> None:
        """Returns if an enclave could be started; KeepFailed or UsageError otherwise, with the first thing missing."""
        demand(self.name, self.needs())

    async def launch(self, *, debug: bool = False) -> Process:
        """Starts an enclave. Whether it is a debug build is the image's to say."""
        await asyncio.to_thread(self.check)
        if debug and not self._image.debug:
            raise KeepFailed("this image is no debug build", hint="fastness image build --debug")
        async with self._laying:  # once for all keeps of this launcher
            if self._folder is None:
                self._folder = await asyncio.to_thread(self._lay)
        return Process(self.command(), self._folder)

    def _lay(self) -> Path:
        """A folder with the root, the signed manifest and its SIGSTRUCT, gone with this launcher."""
        folder = Path(tempfile.mkdtemp(prefix="fastness-sgx-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        (folder / gramine.FOLDER).mkdir()
        root.lay(self._image, folder / gramine.FOLDER)
        if self._signed():
            for name in (gramine.SIGNED, gramine.SIGSTRUCT):
                shutil.copyfile(self._image.folder / name, folder / name)
        else:
            gramine.sign(folder, self.manifest())
        self._right((folder / gramine.SIGSTRUCT).read_bytes())
        return folder

    def _right(self, data: bytes) -> None:
        """Refuses a SIGSTRUCT that is none, or signs an enclave that may be debugged for an image that may not."""
        try:
            signed = sgx.sigstruct(data)
        except MalformedEvidence as error:
            raise KeepFailed(
                f"the enclave's signature: {error.what}", where=gramine.SIGSTRUCT, hint="sign it again"
            ) from None
        if signed.debug != self._image.debug:
            what = "may be debugged, its image not" if signed.debug else "may not be debugged, its image is for that"
            raise KeepFailed(f"the signed enclave {what}", where=gramine.SIGSTRUCT, hint="sign it again")
