from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import guests
from fastness.errors import Malformed, UsageError
from fastness.workload import wasm
from fastness.workload.manifest import File, Manifest

MODULE = guests.wat(
    """(module
      (type $t (func))
      (import "env" "f" (func))
      (import "env" "t" (table 1 2 externref))
      (import "env" "m" (memory 1 4))
      (import "env" "g" (global (mut i64)))
      (import "env" "e" (tag (type $t)))
      (func (export "_start"))
      (table (export "tab") 1 funcref)
      (data (i32.const 0) "x"))"""
)
IMPORTING = guests.wat(
    """(component
      (import "wasi:cli/exit@0.2.0" (instance (export "exit" (func (param "status" (result))))))
      (import "wasi:sockets/tcp@0.2.0" (instance))
      (import "wasi:http/types@0.2.0" (instance))
      (import "acme:thing/x" (func (param "a" string) (result u32)))
      (import "t" (type (sub resource)))
      (import "m" (core module)))"""
)


def test_module() -> None:
    program = wasm.read(MODULE)
    assert not program.component
    assert [(str(item), item.kind) for item in program.imports] == [
        ("env f", "function"), ("env t", "table"), ("env m", "memory"), ("env g", "global"), ("env e", "tag"),
    ]  # fmt: skip
    assert program.exports == (("_start", "function"), ("tab", "table"))


def test_component() -> None:
    program = wasm.read(IMPORTING)
    assert program.component
    assert [(item.name, item.kind) for item in program.imports] == [
        ("wasi:cli/exit@0.2.0", "instance"), ("wasi:sockets/tcp@0.2.0", "instance"),
        ("wasi:http/types@0.2.0", "instance"), ("acme:thing/x", "function"), ("t", "type"), ("m", "core module"),
    ]  # fmt: skip
    assert wasm.read(guests.component("(i32.const 0)")).exports == (("wasi:cli/run@0.2.0", "instance"),)


def test_agrees_with_the_engine_on_a_real_program() -> None:
    import wasmtime

    binary = guests.micropython()
    module = wasmtime.Module(wasmtime.Engine(), binary)
    program = wasm.read(binary)
    assert [(item.module, item.name) for item in program.imports] == [(i.module, i.name) for i in module.imports]
    assert [name for name, _ in program.exports] == [item.name for item in module.exports]


@pytest.mark.parametrize(
    ("data", "where", "hint"),
    [
        (b"", "byte 0", "empty"),
        (b"(module)", "byte 0", "text format"),
        (b"\x7fELF\2\1\1\0", "byte 0", "ELF"),
        (b"#!/bin/sh", "byte 0", ".wasm"),
        (b"\0asm", "byte 4", "module"),
        (b"\0asm\2\0\0\0", "byte 4", "module"),
        (MODULE[:8] + b"\x7f\0", "byte 8", "build"),
        (MODULE[:8] + b"\1\xff\xff\xff\xff\xff\xff", "byte 9", "build"),
        (MODULE[:8] + b"\1\x80\x80\x80\x80\x10", "byte 9", "build"),
        (MODULE[:8] + b"\2\5\xff\xff\xff\xff\x0f", "byte 10", "build"),
        (MODULE[:8] + b"\2\x08\1\1a\1b\0\0\0", "byte 17", "build"),
        (MODULE[:8] + b"\2\6\1\1\xff\1b\0", "byte 11", "build"),
        (MODULE[:8] + b"\2\6\1\1a\1b\x09", "byte 15", "build"),
    ],
)
def test_what_is_not_webassembly_is_refused_with_its_offset(data: bytes, where: str, hint: str) -> None:
    with pytest.raises(Malformed) as caught:
        wasm.read(data)
    assert caught.value.where.startswith(where)
    assert hint in caught.value.hint


@pytest.mark.parametrize("binary", [MODULE, IMPORTING, guests.component("(i32.const 0)")])
def test_every_cut_is_refused_or_ends_on_a_section(binary: bytes) -> None:
    whole = wasm.read(binary)
    for size in range(len(binary)):
        try:
            program = wasm.read(binary[:size])
        except Malformed:
            continue
        assert program.imports in (whole.imports, whole.imports[: len(program.imports)])


@given(st.binary(max_size=64), st.booleans())
def test_any_bytes_after_the_preamble_are_read_or_refused(data: bytes, component: bool) -> None:
    with contextlib.suppress(Malformed):
        wasm.read(wasm.MAGIC + (wasm.COMPONENT if component else wasm.MODULE) + data)


@pytest.mark.parametrize(
    ("wanted", "manifest", "key"),
    [
        (wasm.Import(wasm.PREVIEW1, "fd_write", "function"), Manifest(), None),
        (wasm.Import(wasm.PREVIEW1, "sock_accept", "function"), Manifest(), '[[files]] kind = "listen" or "connect"'),
        (wasm.Import(wasm.PREVIEW1, "sock_accept", "function"), Manifest(files=(File("listen", "x"),)), None),
        (wasm.Import("", "wasi:cli/stdout@0.2.3", "instance"), Manifest(), None),
        (wasm.Import("", "wasi:sockets/tcp@0.2.0", "instance"), Manifest(), 'hosts = ["NAME:PORT"]'),
        (wasm.Import("", "wasi:sockets/tcp@0.2.0", "instance"), Manifest(hosts=("x",)), None),
        (wasm.Import("", "wasi:http/types@0.2.0", "instance"), Manifest(), 'entry = "http"'),
        (wasm.Import("", "wasi:http/types@0.2.0", "instance"), Manifest(entry="http"), None),
        (wasm.Import("", "acme:thing/x", "instance"), Manifest(), ""),
        (wasm.Import("env", "f", "function"), Manifest(), 'trap_imports = ["env"]'),
        (wasm.Import("env", "f", "function"), Manifest(trap_imports=("env",)), None),
        (wasm.Import("env", "memory", "memory"), Manifest(trap_imports=("env",)), ""),
    ],
)
def test_which_key_grants_an_import(wanted: wasm.Import, manifest: Manifest, key: str | None) -> None:
    missing = wasm.required_grants([wanted], manifest)
    assert [item.key for item in missing] == ([] if key is None else [key])


def test_the_refusal_names_imports_and_keys() -> None:
    with pytest.raises(UsageError) as caught:
        wasm.check_grants(wasm.read(IMPORTING), Manifest())
    error = caught.value
    assert "wasi:sockets/tcp@0.2.0" in error.what
    assert "and 1 more" in error.what
    assert 'entry = "http" and hosts' in error.hint
    assert "nothing grants" in error.hint


@pytest.mark.parametrize(
    ("binary", "need"), [(guests.wat("(module)"), "_start"), (guests.wat("(component)"), "wasi:cli/run")]
)
def test_a_library_is_not_a_command(binary: bytes, need: str) -> None:
    with pytest.raises(UsageError, match=f"does not export {need}"):
        wasm.check_grants(wasm.read(binary), Manifest())
