"""What is told to run inside a keep is what its processes import: nothing less, and nothing more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from fastness import devices
from fastness.workload import tcb

ENTRIES = ("keep.__main__", "keep.init", "keep.enclave")
"""The keep's process, PID 1, and the one process of an enclave."""


def place(module: str) -> Path | None:
    base = tcb.package_folder().parent / module.replace(".", "/")
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def imports(path: Path) -> Iterator[str]:
    """Modules of ours that ``path`` imports, at the top or in a function; not those that only types need."""
    tree = ast.parse(path.read_text())
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def test_the_list_is_the_closure_of_what_a_keep_imports() -> None:
    entries = (*ENTRIES, *(f"devices.{name}" for name in devices.NAMES))  # which device there is, is found at boot
    queue, found = [f"fastness.{name}" for name in entries], set[Path]()
    while queue:
        module = queue.pop()
        parent = module.rpartition(".")[0]
        path = place(module)
        if path is None or path in found:
            continue
        found.add(path)
        queue += [parent] * bool(parent)
        queue += [name for name in imports(path) if name.startswith("fastness")]
    base = tcb.package_folder().parent
    assert {path.relative_to(base).as_posix() for path in found} == {row.name for row in tcb.files()}
