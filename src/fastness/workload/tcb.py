"""What runs inside a keep: every file of ours and every wheel, with its hash. ``TCB.lock`` is this list, committed.

The ``nil`` platform reports the SHA-384 of this list as its launch measurement; an image measures the files themselves.
"""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastness.errors import KeepFailed

PARTS = (
    "__init__.py", "errors.py", "devices", "keep",
    *(f"streams/{name}.py" for name in ("__init__", "link", "mux", "ready")),
    *(f"wire/{name}.py" for name in ("__init__", "cbor", "cmw", "cursor", "injected")),
    *(f"seal/{name}.py" for name in (
        "__init__", "binding", "channel", "frames", "hello", "log", "messages", "release", "transport")),
    *(f"workload/{name}.py" for name in ("__init__", "fields", "limits", "manifest", "parts", "wasm")),
    *(f"sandbox/{name}.py" for name in ("__init__", "confine", "kernel", "landlock", "namespaces", "seccomp")),
)  # fmt: skip
"""Files and folders of the package that a keep's processes import, PID 1's and a device's on any platform included; the
import contracts hold it to these, and nothing is here that none of them imports (``tests/workload/test_tcb.py``)."""

WHEELS = ("cffi", "cryptography", "pyopenssl", "typing_extensions", "wasmtime")


@dataclass(frozen=True, slots=True)
class Component:
    """One row of the list: ``file`` or ``wheel``, its name (with version for a wheel), SHA-256 in hexadecimal."""

    kind: str
    name: str
    digest: str
    size: int

    def line(self) -> str:
        """The row as ``TCB.lock`` has it."""
        return f"{self.kind} {self.digest} {self.size:>9} {self.name}"


def package_folder() -> Path:
    """Where the running package lies."""
    return Path(__file__).resolve().parents[1]


def files() -> tuple[Component, ...]:
    """Our own files inside the keep, in order of their names."""
    base = package_folder()
    found: list[Path] = []
    for part in PARTS:
        place = base / part
        found += [place] if place.is_file() else place.rglob("*.py")
    rows = []
    for path in sorted(found, key=lambda item: item.relative_to(base).as_posix()):
        data = path.read_bytes()
        name = f"fastness/{path.relative_to(base).as_posix()}"
        rows.append(Component("file", name, hashlib.sha256(data).hexdigest(), len(data)))
    return tuple(rows)


def wheels() -> tuple[Component, ...]:
    """The wheels inside the keep, each as the digest of what its RECORD says it installed.

    Raises:
        KeepFailed: one of them is not installed.
    """
    site = Path(sysconfig.get_paths()["purelib"])
    return tuple(_wheel(site, name) for name in WHEELS)


def _wheel(site: Path, name: str) -> Component:
    found = sorted(site.glob(f"{name}-*.dist-info/RECORD"))
    if not found:
        raise KeepFailed(f"the wheel {name} is not installed", where=str(site), hint=f"pip install {name}")
    rows, size = [], 0
    for row in found[0].read_text("utf-8").splitlines():
        path, digest, length = row.rsplit(",", 2)
        # what pip adds at installation (byte code, INSTALLER, scripts) is not the wheel's
        if digest and not path.endswith(".pyc") and ".dist-info/" not in path and not path.startswith(".."):
            rows.append(f"{path} {digest}")
            size += int(length or 0)
    version = found[0].parent.name.removesuffix(".dist-info").removeprefix(f"{name}-")
    digest = hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()
    return Component("wheel", f"{name}=={version}", digest, size)


def listing() -> str:
    """The whole list as text, one component a line."""
    return "".join(f"{row.line()}\n" for row in (*files(), *wheels()))


@cache
def launch_digest() -> bytes:
    """SHA-384 over the list: 48 bytes."""
    return hashlib.sha384(listing().encode()).digest()
