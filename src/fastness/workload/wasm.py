"""What a WebAssembly binary asks for: its imports and exports, read without running or compiling anything.

Reads core modules (WebAssembly core 3.0, chapter 5) and components (component-model ``Binary.md``) as far as the
sections that matter here; validation proper is the engine's, inside the keep. The tenant's side uses it before
anything leaves, and the keep again on what arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from fastness.errors import Malformed, UsageError
from fastness.workload.manifest import Manifest

MAX_BINARY = 128 << 20
"""Largest binary accepted, in bytes. A component that carries CPython takes 18 MB."""

MAX_IMPORTS = 10_000
"""Most imports, and most exports, of one binary."""

MAX_NAME = 10_000
MAX_SECTIONS = 100_000

MAGIC = b"\0asm"
MODULE, COMPONENT = b"\x01\0\0\0", b"\x0d\0\x01\0"

CORE_KINDS = ("function", "table", "memory", "global", "tag")
COMPONENT_KINDS = ("core module", "function", "value", "type", "component", "instance")

PREVIEW1 = "wasi_snapshot_preview1"

_FILES_KEY = '[[files]] kind = "listen" or "connect"'
_GRANTED = frozenset(("wasi:cli", "wasi:clocks", "wasi:random", "wasi:io", "wasi:filesystem"))


class Import(NamedTuple):
    """One import. A component has no module names: its imports are named ``wasi:cli/stdout@0.2.0``."""

    module: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.module} {self.name}".strip()


class Program(NamedTuple):
    """The outside of a binary: component or core module, imports, and exports as (name, kind)."""

    component: bool
    imports: tuple[Import, ...]
    exports: tuple[tuple[str, str], ...]


class Ungranted(NamedTuple):
    """An import the manifest does not grant, and the manifest key that would; empty when none can."""

    wanted: Import
    key: str


class _Reader:
    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.end = len(data)

    def wrong(self, what: str, at: int | None = None) -> Malformed:
        return Malformed(
            f"not a sound WebAssembly binary: {what}",
            where=f"byte {self.position if at is None else at}",
            hint="build it again, or get it again from where it came; it was cut or altered on the way",
        )

    def byte(self, what: str) -> int:
        if self.position >= self.end:
            raise self.wrong(f"{what} is cut off")
        self.position += 1
        return self.data[self.position - 1]

    def number(self, what: str, bits: int = 32) -> int:
        """An LEB128 integer; a sign is not told apart, which is enough to step over a type."""
        at, value = self.position, 0
        for shift in range(0, bits, 7):
            byte = self.byte(what)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> bits:
                    break
                return value
        raise self.wrong(f"{what} is not an LEB128 integer of {bits} bits", at)

    def name(self, what: str) -> str:
        at, size = self.position, self.number(f"the length of {what}")
        if size > MAX_NAME:
            raise self.wrong(f"{what} is {size} bytes long, more than {MAX_NAME}", at)
        if size > self.end - self.position:
            raise self.wrong(f"{what} is cut off")
        raw = self.data[self.position : self.position + size]
        self.position += size
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.wrong(f"{what} is not UTF-8", at) from None

    def count(self, what: str) -> int:
        at, value = self.position, self.number(f"the number of {what}")
        if value > MAX_IMPORTS:
            raise self.wrong(f"{value} {what}, more than {MAX_IMPORTS}", at)
        return value

    def one_of(self, kinds: tuple[str, ...], what: str) -> str:
        at, value = self.position, self.byte(what)
        if value >= len(kinds):
            raise self.wrong(f"{what} 0x{value:02x} is unknown", at)
        return kinds[value]


def read(data: bytes) -> Program:
    """The imports and exports of ``data``.

    Raises:
        Malformed: not WebAssembly, cut, or not built as the specification says; with the offset.
    """
    if data[:4] != MAGIC:
        raise Malformed("not a WebAssembly binary", where="byte 0", hint=_guess(data))
    if len(data) > MAX_BINARY:
        raise Malformed(
            f"the binary is {len(data)} bytes, more than {MAX_BINARY}", hint="build with -Os, strip debug data"
        )
    if data[4:8] not in (MODULE, COMPONENT):
        raise Malformed(
            f"WebAssembly of unknown version {data[4:8].hex()}",
            where="byte 4",
            hint="need a module or a component, version 1",
        )
    component = data[4:8] == COMPONENT
    imports: list[Import] = []
    exports: list[tuple[str, str]] = []
    readers = _COMPONENT_SECTIONS if component else _MODULE_SECTIONS
    for section, reader in _sections(data, component=component):
        if section in readers:
            readers[section](reader, imports, exports)
            if reader.position != reader.end:
                raise reader.wrong("a section is longer than its content")
    return Program(component, tuple(imports), tuple(exports))


def _guess(data: bytes) -> str:
    if data[:1] in (b"(", b";"):
        return "this looks like the text format; turn it into a binary with wat2wasm or wasm-tools parse"
    if data[:4] == b"\x7fELF":
        return "this is an ELF program; build it for wasm32-wasi (clang --target=wasm32-wasi, GOOS=wasip1 GOARCH=wasm)"
    return "the file is empty" if not data else "give a .wasm file: a module or a component"


def _sections(data: bytes, *, component: bool) -> Iterable[tuple[int, _Reader]]:
    reader = _Reader(data)
    reader.position = 8
    last = 12 if component else 13
    for _ in range(MAX_SECTIONS):
        if reader.position == len(data):
            return
        at, section = reader.position, reader.byte("a section id")
        if section > last:
            raise reader.wrong(f"section id {section} is unknown", at)
        size = reader.number("the size of a section")
        if size > len(data) - reader.position:
            raise reader.wrong(f"section {section} needs {size} bytes, {len(data) - reader.position} are left", at)
        inner = _Reader(data)
        inner.position, inner.end = reader.position, reader.position + size
        yield section, inner
        reader.position += size
    raise reader.wrong(f"more than {MAX_SECTIONS} sections")


def _module_imports(reader: _Reader, imports: list[Import], exports: list[tuple[str, str]]) -> None:
    for _ in range(reader.count("imports")):
        module, name = reader.name("the module of an import"), reader.name("the name of an import")
        kind = reader.one_of(CORE_KINDS, "the kind of an import")
        imports.append(Import(module, name, kind))
        _skip_core_type(reader, kind)


def _skip_core_type(reader: _Reader, kind: str) -> None:
    if kind == "tag":
        reader.byte("a tag attribute")
    if kind in ("function", "tag"):
        reader.number("a type index")
    if kind in ("table", "global"):
        _skip_value_type(reader)
    if kind in ("table", "memory"):
        _skip_limits(reader)
    if kind == "global":
        reader.byte("mutability")


def _skip_value_type(reader: _Reader) -> None:
    if reader.byte("a value type") in (0x63, 0x64):
        reader.number("a heap type", 33)


def _skip_limits(reader: _Reader) -> None:
    flags = reader.byte("the flags of limits")
    if flags > 15:
        raise reader.wrong(f"flags of limits 0x{flags:02x} are unknown", reader.position - 1)
    reader.number("a minimum", 64)
    if flags & 1:
        reader.number("a maximum", 64)
    if flags & 8:
        reader.number("a page size")


def _module_exports(reader: _Reader, imports: list[Import], exports: list[tuple[str, str]]) -> None:
    for _ in range(reader.count("exports")):
        name = reader.name("the name of an export")
        exports.append((name, reader.one_of(CORE_KINDS, "the kind of an export")))
        reader.number("the index of an export")


def _component_name(reader: _Reader, what: str) -> str:
    form = reader.byte(what)
    if form > 2:
        raise reader.wrong(f"{what} of form {form} is unknown", reader.position - 1)
    name = reader.name(what)
    if form == 2:
        name += reader.name(f"the version of {what}")
    return name


def _component_type(reader: _Reader) -> str:
    kind = reader.one_of(COMPONENT_KINDS, "the kind of an extern")
    if kind == "core module" and reader.byte("a core sort") != 0x11:
        raise reader.wrong("only modules of the core can be imported", reader.position - 1)
    if kind in ("value", "type"):
        bound = reader.byte("a bound")
        if bound > 1:
            raise reader.wrong(f"bound {bound} is unknown", reader.position - 1)
        if kind == "type" and bound == 1:
            return kind
    reader.number("a type", 33)
    return kind


def _component_imports(reader: _Reader, imports: list[Import], exports: list[tuple[str, str]]) -> None:
    for _ in range(reader.count("imports")):
        name = _component_name(reader, "the name of an import")
        imports.append(Import("", name, _component_type(reader)))


def _component_exports(reader: _Reader, imports: list[Import], exports: list[tuple[str, str]]) -> None:
    for _ in range(reader.count("exports")):
        name = _component_name(reader, "the name of an export")
        kind = reader.one_of(COMPONENT_KINDS, "the sort of an export")
        if kind == "core module":
            reader.byte("a core sort")
        reader.number("the index of an export")
        if reader.byte("a type flag"):
            _component_type(reader)
        exports.append((name, kind))


_Section = Callable[[_Reader, list[Import], list[tuple[str, str]]], None]
_MODULE_SECTIONS: dict[int, _Section] = {2: _module_imports, 7: _module_exports}
_COMPONENT_SECTIONS: dict[int, _Section] = {10: _component_imports, 11: _component_exports}


def required_grants(imports: Iterable[Import], manifest: Manifest) -> tuple[Ungranted, ...]:
    """The imports that ``manifest`` does not grant, each with the key that would; empty when all are granted."""
    missing = []
    for wanted in imports:
        granted, key = _grant(wanted, manifest)
        if not granted:
            missing.append(Ungranted(wanted, key))
    return tuple(missing)


def _grant(wanted: Import, manifest: Manifest) -> tuple[bool, str]:
    if wanted.module == PREVIEW1:
        if not wanted.name.startswith("sock_"):
            return True, ""
        return any(file.kind in ("listen", "connect") for file in manifest.files), _FILES_KEY
    if wanted.module:
        key = f'trap_imports = ["{wanted.module}"]' if wanted.kind == "function" else ""
        return wanted.kind == "function" and wanted.module in manifest.trap_imports, key
    package = wanted.name.partition("/")[0]
    if package in _GRANTED:
        return True, ""
    if package == "wasi:sockets":
        return bool(manifest.hosts), 'hosts = ["NAME:PORT"]'
    if package == "wasi:http":
        return manifest.entry == "http", 'entry = "http"'
    return False, ""


def check_grants(program: Program, manifest: Manifest) -> None:
    """Refuses a program that imports what ``manifest`` does not grant, or has no way to start.

    Raises:
        UsageError: naming the imports and the keys that would grant them.
    """
    missing = required_grants(program.imports, manifest)
    if missing:
        names = [str(item.wanted) for item in missing]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        keys = sorted({item.key for item in missing if item.key})
        hints = [f"grant it with {' and '.join(keys)} in fastness.toml"] if keys else []
        hints += ["nothing grants such an import"] if not all(item.key for item in missing) else []
        raise UsageError(
            f"the workload imports what its manifest does not grant: {', '.join(names[:4])}{more}",
            where=f"import {names[0]}",
            hint="; ".join(hints),
        )
    if manifest.entry == "command" and not _starts(program):
        need = "wasi:cli/run" if program.component else "_start"
        raise UsageError(f"the workload does not export {need}", hint="build it as a command, not as a library")


def _starts(program: Program) -> bool:
    if program.component:
        return any(name.startswith("wasi:cli/run") for name, _ in program.exports)
    return ("_start", "function") in program.exports
