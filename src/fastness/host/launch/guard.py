"""What an operator may choose of a confidential machine, checked, and in the form that QEMU's options take.

Nothing here is secret: the host sees all of it. What the tenant's policy wants of it, the evidence shows.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, fields
from pathlib import Path

from fastness.errors import UsageError

MAX_FILE = 64 * 1024
SIZES = {"host_data": 32, "mrconfigid": 48, "mrowner": 48, "mrownerconfig": 48}
"""Bytes of each field that is given in hexadecimal (AMD 56860, HOST_DATA; Intel TDX module, TD_PARAMS)."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Empty, or None, where nothing was chosen.

    Attributes:
        cpu: QEMU's model of the processor; the launch digest of SNP and SEV-ES covers it.
        policy: guest policy of SNP or SEV.
        host_data: 32 bytes in hexadecimal that every SNP report shows.
        id_block, id_auth: files that a guest's owner signed (``docs/amd-launch.md``), 96 and 4096 bytes.
        mrconfigid, mrowner, mrownerconfig: 48 bytes each in hexadecimal that every TDX quote shows.
        quote_socket: where TDX quotes are generated: ``vsock:CID:PORT`` or ``unix:PATH``.
        chain: file of a SEV platform's certificates, one after the other.
    """

    cpu: str = ""
    policy: int | None = None
    host_data: str = ""
    id_block: str = ""
    id_auth: str = ""
    mrconfigid: str = ""
    mrowner: str = ""
    mrownerconfig: str = ""
    quote_socket: str = ""
    chain: str = ""

    def only(self, platform: str, taken: frozenset[str]) -> Guard:
        """This, if ``platform`` knows all that was chosen, and it has the right form.

        Raises:
            UsageError: it does not: an option is never dropped in silence.
        """
        for item in fields(self):
            chosen = getattr(self, item.name)
            if chosen in ("", None):
                continue
            option = "--" + item.name.replace("_", "-")
            if item.name not in taken:
                known = ", ".join(sorted("--" + name.replace("_", "-") for name in taken)) or "none of these options"
                raise UsageError(f"{platform} has no {option}", where=option, hint=f"{platform} takes {known}")
            if item.name in SIZES and len(raw(chosen)) != SIZES[item.name]:
                raise UsageError(f"{option} wants {SIZES[item.name]} bytes in hexadecimal", where=option)
        if self.cpu and not all(char.isalnum() or char in "-_." for char in self.cpu):
            raise UsageError(f"{self.cpu!r} is no processor model: features are added by nobody", where="--cpu")
        return self


def raw(text: str) -> bytes:
    """Bytes written in hexadecimal; none where it is something else."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def encoded(text: str) -> str:
    """Hexadecimal as base64."""
    return base64.b64encode(bytes.fromhex(text)).decode()


def content(path: str, sizes: tuple[int, ...], option: str) -> bytes:
    """A file of one of ``sizes`` bytes.

    Raises:
        UsageError: it cannot be read, or has another size.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE)
    except OSError as error:
        raise UsageError(f"cannot be read: {(error.strerror or '').lower()}", where=path, hint=option) from None
    if len(data) not in sizes:
        raise UsageError(f"need {' or '.join(map(str, sizes))} bytes, have {len(data)}", where=path, hint=option)
    return data
