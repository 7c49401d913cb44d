"""The parts of a manifest: descriptors, assets, secrets, volumes, limits; and how each is read from its table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from fastness.workload import limits as lim
from fastness.workload.fields import Fields
from fastness.workload.limits import Limits

MAX_ASSETS = 64 * lim.MIB
"""Most bytes of all assets together; the keep holds them in memory."""

KINDS = ("null", "stdin", "stdout", "stderr", "listen", "connect")
PROTOCOLS = ("tls", "tcp")
PORTS = {"tls": 443, "tcp": 80}

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,255}"
_HOST = r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,252})?(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?"
"""Compiled when they are needed: most workloads have no secrets and no hosts."""


class File(NamedTuple):
    """One descriptor of the workload, numbered by its place in the list (Enarx). ``host`` is the address for listen."""

    kind: str
    name: str
    prot: str = ""
    host: str = ""
    port: int = 0


STDIO = (File("stdin", "stdin"), File("stdout", "stdout"), File("stderr", "stderr"))


class Asset(NamedTuple):
    """A read-only file: path in the workload, the tenant's file (not delivered), size and SHA-256 of the content."""

    path: str
    source: str = ""
    size: int = 0
    digest: bytes = b""


class Secret(NamedTuple):
    """A secret by name: the file ``/secrets/NAME``, or the environment variable ``variable`` when that is set."""

    name: str
    variable: str = ""

    @property
    def path(self) -> str:
        """Where the workload finds it as a file; empty when it is an environment variable."""
        return "" if self.variable else f"/secrets/{self.name}"


class Volume(NamedTuple):
    """A sealed volume: guest path and size in bytes."""

    path: str
    size: int


LIMITS: dict[str, tuple[int, int, dict[str, int] | None]] = {
    "memory": (lim.KIB * 64, lim.MAX_MEMORY, lim.SIZES),
    "table": (1, lim.MAX_TABLE, None),
    "stack": (lim.KIB * 64, lim.MAX_STACK, lim.SIZES),
    "wall_clock": (1, lim.MAX_WALL_CLOCK, lim.DURATIONS),
    "fuel": (0, lim.MAX_FUEL, None),
    "grace": (0, lim.MAX_GRACE, lim.DURATIONS),
}


def read_limits(table: Fields) -> Limits:
    """``[limits]``: integers, or text with a unit; ``fuel = 0`` is no fuel."""
    default = Limits()
    values = {
        name: table.integer(name, getattr(default, name) or 0, low, high, units)
        for name, (low, high, units) in LIMITS.items()
    }
    table.done()
    return Limits(**{**values, "fuel": values["fuel"] or None})  # type: ignore[arg-type]


def read_env(table: Fields) -> tuple[tuple[str, str], ...]:
    """``[env]``: text by name."""
    for name in table.data:
        if not name or "=" in name or "\0" in name:
            raise table.wrong(name, "is not a name of an environment variable", "use letters, digits and underscores")
    return tuple(sorted((name, table.checked(name, value)) for name, value in table.data.items()))


def read_files(top: Fields) -> tuple[File, ...]:
    """``[[files]]`` as Enarx has them; stdin, stdout and stderr when absent."""
    files = tuple(_file(table) for table in top.tables("files"))
    return files if "files" in top.data else STDIO


def _file(table: Fields) -> File:
    kind = table.choice("kind", KINDS)
    file = _socket(table, kind) if kind in ("listen", "connect") else File(kind, table.text("name", kind))
    if ":" in file.name:
        raise table.wrong("name", 'must not hold ":"', "FD_NAMES joins the names with it")
    table.done()
    return file


def _socket(table: Fields, kind: str) -> File:
    prot = table.choice("prot", PROTOCOLS)
    host = table.text("addr", "::") if kind == "listen" else table.text("host")
    name = table.text("name", None if kind == "listen" else host)
    return File(kind, name, prot, host, table.integer("port", PORTS[prot], 1, 65_535))


def _guest_path(table: Fields, path: str) -> str:
    parts = path.split("/")
    good = parts[0] == "" and len(parts) > 1 and len(path) <= 1024 and "\0" not in path
    if not good or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts[1:]):
        raise table.wrong(path, "is not a path in the workload", 'start with "/"; no empty part, no ".", no ".."')
    if parts[1] == "secrets":
        raise table.wrong(path, "is under /secrets", "declare it under [secrets], or choose another folder")
    return path


def read_assets(table: Fields, *, measured: bool) -> tuple[Asset, ...]:
    """``[assets]``: the source by guest path in TOML, size and digest in the measured form."""
    assets: list[Asset] = []
    for path in sorted(table.data):
        _guest_path(table, path)
        if any(path.startswith(f"{asset.path}/") for asset in assets):
            raise table.wrong(path, "lies inside another asset", "an asset is a file, not a folder")
        if measured:
            inner = table.table(path)
            digest = inner.take("sha256")
            if not isinstance(digest, bytes) or len(digest) != 32:
                raise inner.wrong("sha256", "must be 32 bytes")
            assets.append(Asset(path, "", inner.integer("size", -1, 0, MAX_ASSETS), digest))
            inner.done()
        else:
            assets.append(Asset(path, table.checked(path, table.data[path])))
    return tuple(assets)


def read_secrets(table: Fields) -> tuple[Secret, ...]:
    """``[secrets]``: ``NAME = "file"`` or ``NAME = { env = "VARIABLE" }``."""
    secrets = []
    for name in sorted(table.data):
        if not re.fullmatch(_NAME, name):
            raise table.wrong(
                name, "is not a name of a secret", "use up to 64 letters, digits, dots, dashes, underscores"
            )
        if table.data[name] == "file":
            secrets.append(Secret(name))
            continue
        if not isinstance(table.data[name], Mapping):
            raise table.wrong(name, "must say how the workload sees it", 'write "file" or { env = "NAME" }')
        inner = table.table(name)
        variable = inner.text("env", name if re.fullmatch(_VARIABLE, name) else None)
        if not re.fullmatch(_VARIABLE, variable):
            raise inner.wrong("env", f'is "{variable}"', "use letters, digits and underscores")
        inner.done()
        secrets.append(Secret(name, variable))
    return tuple(secrets)


def read_host(inner: Fields, at: int, item: object) -> str:
    """One of ``hosts``."""
    host = inner.checked(at, item)
    if not re.fullmatch(_HOST, host):
        raise inner.wrong(at, f'is "{host}"', "write a host name, with :PORT if wished, or * as its first label")
    return host


def read_volumes(table: Fields) -> tuple[Volume, ...]:
    """``[volumes]``: ``"/path" = { size = "1 GiB" }``."""
    volumes = []
    for path in sorted(table.data):
        inner = table.table(_guest_path(table, path))
        volumes.append(Volume(path, inner.integer("size", 0, lim.MIB, 1 << 50, lim.SIZES)))
        inner.done()
    return tuple(volumes)


def read_digest(top: Fields, key: str) -> bytes:
    """A digest, ``sha256:`` and 64 hexadecimal digits; empty when absent."""
    text = top.text(key, "")
    if not text:
        return b""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise top.wrong(key, "is not a digest", "write sha256: and 64 hexadecimal digits in lower case")
    return bytes.fromhex(text[7:])


def read_steward(top: Fields) -> str:
    """The URL of the steward; https only, as in Enarx."""
    url = top.text("steward", "")
    if url and not re.fullmatch(r"https://[^\s/]+(/\S*)?", url):
        raise top.wrong("steward", "is not an https URL", "an unencrypted steward is refused")
    return url
