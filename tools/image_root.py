"""Writes ``src/fastness/image/stdlib.toml``: the standard library's modules that a keep loads, found by loading them.

python tools/image_root.py [--check]      write it, or exit 1 if it lacks something

The image's own interpreter, from the cached inputs and without what the image leaves out (``ssl`` and ``_hashlib``, so
a second OpenSSL), imports everything of ours that runs inside, also what our functions import when called, and goes
through what loads more: a running event loop with its threads, a traceback.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from fastness.image import archives, lock, python
from fastness.image.build import home
from fastness.image.cache import Cache

FOUND = Path(lock.__file__).with_name(lock.STDLIB)
LEFT_OUT = ("_ssl.", "_hashlib.")
HEAD = """\
# The standard library's modules that a keep loads. Made by tools/image_root.py; root.toml adds what it cannot see.

found = [
"""
PROBE = """\
import ast, asyncio, importlib, sys, traceback
from pathlib import Path
import OpenSSL.SSL
from fastness.workload import tcb
for row in tcb.files():
    name = row.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    importlib.import_module(name)
    for node in ast.walk(ast.parse((tcb.package_folder().parent / row.name).read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            importlib.import_module(node.module)
async def main():
    await asyncio.to_thread(int)
    ours, theirs = await asyncio.open_unix_connection(sock=__import__("socket").socketpair()[0])
    theirs.close()
asyncio.run(main())
try:
    raise ExceptionGroup("a", [ValueError("b")])
except ExceptionGroup:
    traceback.format_exc()
for name, module in sorted(sys.modules.items()):
    origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
    if "/python3.11/" in origin:
        print(name)
print("os")  # built in, but where it lies is how an interpreter finds its library
"""


def main() -> int:
    """Runs the tool."""
    with tempfile.TemporaryDirectory(prefix="fastness-probe-") as name:
        place = Path(name)
        _lay(place)
        command = [
            str(place / python.LOADER),
            "--library-path",
            str(place / python.LIBRARIES),
            str(place / python.INTERPRETER),
        ]
        paths = f"{place / 'wheels'}:{Path(lock.__file__).parents[2]}"
        environment = {"PYTHONPATH": paths, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [*command, "-S", "-B", "-P", "-c", PROBE], env=environment, stdout=subprocess.PIPE, check=True
        )
    names = sorted(set(done.stdout.decode().split()))
    if "--check" in sys.argv:
        held = set(lock.choice().modules)
        for name in names:
            if name not in held:
                print(f"new {name}", file=sys.stderr)
        return int(not held.issuperset(names))
    FOUND.write_text(HEAD + "".join(f'    "{name}",\n' for name in names) + "]\n")
    return 0


def _lay(place: Path) -> None:
    cache = Cache(home() / "inputs")
    pinned = lock.read()
    for item in pinned.of("deb"):
        if not item.name.startswith("linux-image"):
            for path, data in archives.deb(cache.read(item), python.wanted, str(item)).items():
                if not path.rsplit("/", 1)[1].startswith(LEFT_OUT):
                    # libraries of both library folders in one, as in the image
                    at = place / (
                        f"{python.LIBRARIES}/{path.rsplit('/', 1)[1]}" if python.SHARED.fullmatch(path) else path
                    )
                    at.parent.mkdir(parents=True, exist_ok=True)
                    at.write_bytes(data)
    for item in pinned.of("wheel"):
        for path, data in archives.wheel(cache.read(item), lambda _: True, str(item)).items():
            (place / "wheels" / path).parent.mkdir(parents=True, exist_ok=True)
            (place / "wheels" / path).write_bytes(data)
    for path in (python.INTERPRETER, python.LOADER):
        (place / path).chmod(0o700)


if __name__ == "__main__":
    sys.exit(main())
