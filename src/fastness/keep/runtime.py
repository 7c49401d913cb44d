"""Runs one WebAssembly workload with wasmtime: WASI preview 1 modules and preview 2 command components.

Granted: arguments, environment, three streams, a read-only root folder (assets and secrets), clocks and random, as
the manifest says, and nothing else. Code is always compiled here, from the binary that was measured; precompiled code
and the engine's cache are never loaded. A guest that does not end is stopped by killing the process: counting fuel or
epochs costs up to three times the run time in tight loops, so neither is on unless the manifest sets ``limits.fuel``.

Streams are given to the engine as files (``/proc/self/fd/N`` of a pipe), which moves 1 GiB in about half a second; a
Python callback takes eighteen. Where ``/proc`` is out of reach, a descriptor that already has the guest's number is
inherited.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from fastness.errors import FastnessError, KeepFailed, Malformed, UsageError
from fastness.keep import engine
from fastness.keep.engine import LIB, Stopped
from fastness.workload import wasm
from fastness.workload.limits import KIB, MIB
from fastness.workload.manifest import Manifest, check_supported

ARGV0 = "main.wasm"
"""The guest's argv[0], as in Enarx."""

NATIVE_STACK = 4 * MIB
"""Native stack of the running thread beyond the WebAssembly stack: for host functions under it."""

MAX_INSTANCES = 64
"""Most core instances and tables of a component; a module has one instance."""

MAX_MEMORIES = 8
"""Most linear memories of a component; a module has one."""

MAX_FRAMES = 64
STREAMS = ("stdin", "stdout", "stderr")
OFF = False
SMALLEST = bytes.fromhex("0061736d01000000 01040160000003020100 070a01065f737461727400000a040102000b")
"""``(module (func (export "_start")))``"""

Opaque = ctypes.Array[ctypes.c_uint64]
"""A value of the library that it alone reads."""

PARALLEL_FROM = 64 * KIB
"""Binaries smaller than this many bytes compile in one thread: starting a pool costs more than it saves."""


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
        kind: ``exit`` (by itself), ``trap`` or ``limit``.
        code: the exit code, 0 to 255; None unless ``kind`` is ``exit``.
        what: one sentence on a trap or limit.
        key: the manifest key to raise when a limit was, or may have been, hit.
        backtrace: WebAssembly functions, innermost first, at most :data:`MAX_FRAMES`.
    """

    kind: str
    code: int | None = None
    what: str = ""
    key: str = ""
    backtrace: tuple[str, ...] = ()

    def error(self) -> KeepFailed | None:
        """The error to show, or None for an exit."""
        if self.kind == "exit":
            return None
        where = f"in {self.backtrace[0]}" if self.backtrace else ""
        return KeepFailed(f"the workload {self.what}", where=where, hint=f"raise {self.key}" if self.key else "")


_STOPS: tuple[tuple[str, str, str, str], ...] = (
    ("call stack exhausted", "limit", "ran out of stack", "limits.stack"),
    ("all fuel consumed", "limit", "ran out of fuel", "limits.fuel"),
    ("exceeds memory limits", "limit", "needs more memory to start", "limits.memory"),
    ("exceeds table limits", "limit", "needs a larger table to start", "limits.table"),
    ("count too high", "limit", "has too many memories, tables or instances", ""),
)

_FRAME = r"(?m)^\s*\d+:\s+0x[0-9a-f]+ - (.+)$"


def compile(binary: bytes, manifest: Manifest, *, enclave: bool = False) -> Compiled:  # noqa: A001 (it is the word)
    """Checks ``binary`` against ``manifest`` and compiles it; in an enclave as :func:`engine.enclose` says.

    Raises:
        Malformed: not a sound WebAssembly binary.
        UsageError: it imports what the manifest does not grant, or the manifest asks for what cannot be run yet.
        KeepFailed: the engine could not be set up.
    """
    program = wasm.read(binary)
    check_supported(manifest)
    wasm.check_grants(program, manifest)
    handle = _engine(manifest, parallel=len(binary) >= PARALLEL_FROM and not enclave, enclave=enclave)
    code = ctypes.c_void_p()
    new = LIB.wasmtime_component_new if program.component else LIB.wasmtime_module_new
    try:
        engine.check(new(handle, binary, len(binary), ctypes.byref(code)))
    except Stopped as stopped:
        LIB.wasm_engine_delete(handle)
        lines = [line.strip() for line in stopped.message.splitlines() if line.strip()]
        offset = re.search(r"\(at offset (0x[0-9a-f]+)\)", stopped.message)
        raise Malformed(
            f"the engine refuses the binary: {lines[-1] if lines else 'no reason given'}",
            where=f"byte {int(offset[1], 16)}" if offset else "",
            hint="build it for wasm32-wasi or wasm32-wasip2 with features the engine has",
        ) from None
    return Compiled(manifest, program, handle, code)


def warm() -> None:
    """Compiles a program of one empty function and forgets it: what a compiler does once, it then has done."""
    compile(SMALLEST, Manifest())


def _engine(manifest: Manifest, *, parallel: bool, enclave: bool) -> int:
    config = LIB.wasm_config_new()
    for name in ("wasm_threads", "wasm_memory64", "wasm_multi_memory", "memory_init_cow"):
        getattr(LIB, f"wasmtime_config_{name}_set")(config, OFF)
    LIB.wasmtime_config_consume_fuel_set(config, manifest.limits.fuel is not None)
    LIB.wasmtime_config_max_wasm_stack_set(config, manifest.limits.stack)
    LIB.wasmtime_config_async_stack_size_set(config, manifest.limits.stack + NATIVE_STACK)
    LIB.wasmtime_config_parallel_compilation_set(config, parallel)
    if enclave:
        engine.enclose(config)
    handle: int | None = LIB.wasm_engine_new_with_config(config)
    if not handle:
        raise KeepFailed("the engine cannot be set up", hint="see fastness platforms")
    return handle


class Compiled:
    """A workload ready to run. Made by :func:`compile`."""

    __slots__ = ("code", "engine", "manifest", "program")

    def __init__(self, manifest: Manifest, program: wasm.Program, handle: int, code: ctypes.c_void_p) -> None:
        self.manifest = manifest
        self.program = program
        self.engine = handle
        self.code = code

    def __del__(self) -> None:
        (LIB.wasmtime_component_delete if self.program.component else LIB.wasmtime_module_delete)(self.code)
        LIB.wasm_engine_delete(self.engine)

    def run(
        self, stdin: int, stdout: int, stderr: int, root: Path | None = None, secrets: Mapping[str, bytes] | None = None
    ) -> Ended:
        """Runs the workload to its end. Blocks; the interpreter lock is free meanwhile.

        Args:
            stdin: descriptor the guest reads, usually a pipe. The caller closes it afterwards.
            stdout: descriptor the guest writes; the caller closes it afterwards, and so ends the stream.
            stderr: likewise.
            root: folder the guest sees as ``/``, read-only; None when it has neither assets nor secret files.
            secrets: values by name, for the secrets that appear in the environment.

        Raises:
            UsageError: a secret is missing, or cannot be an environment variable.
            KeepFailed: a stream or the root cannot be opened.
        """
        wasi = self._wasi((stdin, stdout, stderr), root, secrets or {})
        return _in_thread(lambda: self._run(wasi), self.manifest.limits.stack + NATIVE_STACK)

    def _wasi(self, streams: tuple[int, int, int], root: Path | None, secrets: Mapping[str, bytes]) -> int:
        pairs = environment(self.manifest, secrets)
        names, values = engine.strings([name for name, _ in pairs]), engine.strings([value for _, value in pairs])
        arguments = [ARGV0, *self.manifest.args]
        wasi: int = LIB.wasi_config_new()
        try:
            _need("arguments", LIB.wasi_config_set_argv(wasi, len(arguments), engine.strings(arguments)))
            _need("environment", LIB.wasi_config_set_env(wasi, len(pairs), names, values))
            kinds = [file.kind for file in self.manifest.files] + ["null"] * 3
            for number, name in enumerate(STREAMS):
                if kinds[number] != "null":
                    _stream(wasi, name, number, streams[STREAMS.index(kinds[number])])
            if root is not None:
                _need("folder", LIB.wasi_config_preopen_dir(wasi, str(root).encode(), b"/", OFF))
        except KeepFailed:
            LIB.wasi_config_delete(wasi)
            raise
        return wasi

    def _run(self, wasi: int) -> Ended:
        """Runs with ``wasi``, which the store owns from here on."""
        limits = self.manifest.limits
        store = LIB.wasmtime_store_new(self.engine, None, None)
        context = LIB.wasmtime_store_context(store)
        try:
            LIB.wasmtime_store_limiter(store, limits.memory, limits.table, MAX_INSTANCES, MAX_INSTANCES, MAX_MEMORIES)
            engine.check(LIB.wasmtime_context_set_wasi(context, wasi))
            if limits.fuel is not None:
                engine.check(LIB.wasmtime_context_set_fuel(context, limits.fuel))
            return self._run_component(context) if self.program.component else self._run_module(context)
        finally:
            LIB.wasmtime_store_delete(store)

    def _run_module(self, context: int) -> Ended:
        linker = LIB.wasmtime_linker_new(self.engine)
        instance = (ctypes.c_uint64 * 2)()
        trap = ctypes.c_void_p()
        ended = Ended("exit", 0)
        try:
            engine.check(LIB.wasmtime_linker_define_wasi(linker))
            if self.manifest.trap_imports:
                engine.check(LIB.wasmtime_linker_define_unknown_imports_as_traps(linker, self.code))
            error = LIB.wasmtime_linker_instantiate(linker, context, self.code, instance, ctypes.byref(trap))
            engine.check(error, trap)
            start = _export(context, instance, b"_start", engine.EXTERN_FUNC)
            error = LIB.wasmtime_func_call(context, start, None, 0, None, 0, ctypes.byref(trap))
            engine.check(error, trap)
        except Stopped as stopped:
            ended = _ended(stopped)
        finally:
            LIB.wasmtime_linker_delete(linker)
        memory = _export(context, instance, b"memory", engine.EXTERN_MEMORY) if instance[0] else None
        used = LIB.wasmtime_memory_data_size(context, memory) if memory is not None else 0
        return _with_memory(ended, used, self.manifest.limits.memory)

    def _run_component(self, context: int) -> Ended:
        linker = LIB.wasmtime_component_linker_new(self.engine)
        instance = (ctypes.c_uint64 * 2)()
        result = engine.Result()
        try:
            engine.check(LIB.wasmtime_component_linker_add_wasip2(linker))
            engine.check(LIB.wasmtime_component_linker_instantiate(linker, context, self.code, instance))
            run = _component_run(context, instance, self.program)
            engine.check(LIB.wasmtime_component_func_call(run, context, None, 0, ctypes.byref(result), 1))
            failed = result.kind != engine.COMPONENT_RESULT or not result.ok
            LIB.wasmtime_component_val_delete(ctypes.byref(result))
            return Ended("exit", int(failed))
        except Stopped as stopped:
            return _ended(stopped)
        finally:
            LIB.wasmtime_component_linker_delete(linker)


def environment(manifest: Manifest, secrets: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """The guest's environment: the manifest's, then secrets, then FD_COUNT and FD_NAMES as Enarx sets them.

    Raises:
        UsageError: a secret is missing, or is not text without NUL.
    """
    pairs = dict(manifest.env)
    for secret in manifest.secrets:
        if not secret.variable:
            continue
        if secret.name not in secrets:
            raise UsageError(
                f"the secret {secret.name} was not given", hint=f"give it with --secret {secret.name}=@FILE"
            )
        try:
            value = secrets[secret.name].decode()
        except UnicodeDecodeError:
            value = "\0"
        if "\0" in value:
            raise UsageError(
                f"the secret {secret.name} is not text, so it cannot be an environment variable",
                where=f"secrets.{secret.name}",
                hint='declare it as "file"',
            )
        pairs[secret.variable] = value
    pairs["FD_COUNT"] = str(len(manifest.files))
    pairs["FD_NAMES"] = ":".join(file.name for file in manifest.files)
    return list(pairs.items())


def _need(what: str, done: object) -> None:
    if not done:
        raise KeepFailed(f"the workload's {what} cannot be set up", where=what)


def _stream(wasi: int, name: str, number: int, descriptor: int) -> None:
    if getattr(LIB, f"wasi_config_set_{name}_file")(wasi, b"/proc/self/fd/%d" % descriptor):
        return
    _need(name, descriptor == number)
    getattr(LIB, f"wasi_config_inherit_{name}")(wasi)


def _export(context: int, instance: Opaque, name: bytes, kind: int) -> Opaque | None:
    extern = engine.Extern()
    found = LIB.wasmtime_instance_export_get(context, instance, name, len(name), ctypes.byref(extern))
    return extern.of if found and extern.kind == kind else None


def _component_run(context: int, instance: Opaque, program: wasm.Program) -> Opaque:
    function = (ctypes.c_uint64 * 4)()
    name = next(name for name, _ in program.exports if name.startswith("wasi:cli/run")).encode()
    find = LIB.wasmtime_component_instance_get_export_index
    outer = find(instance, context, None, name, len(name))
    inner = find(instance, context, outer, b"run", 3) if outer else None
    found = inner and LIB.wasmtime_component_instance_get_func(instance, context, inner, function)
    for index in (outer, inner):
        if index:
            LIB.wasmtime_component_export_index_delete(index)
    if not found:
        raise Stopped(f"{name.decode()} has no function run")
    return function


def _ended(stopped: Stopped) -> Ended:
    if stopped.code is not None:
        return Ended("exit", stopped.code)
    return _stopped(stopped.message, stopped.frames or tuple(re.findall(_FRAME, stopped.message)))


def _stopped(message: str, frames: tuple[str, ...]) -> Ended:
    backtrace = frames[:MAX_FRAMES]
    for words, kind, what, key in _STOPS:
        if words in message:
            return Ended(kind, None, what, key, backtrace)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    trap = next(
        (line.partition("wasm trap: ")[2] for line in lines if "wasm trap: " in line), lines[-1] if lines else ""
    )
    return Ended("trap", None, f"trapped: {trap}", "", backtrace)


def _with_memory(ended: Ended, used: int, limit: int) -> Ended:
    """Names ``limits.memory`` when a run failed with most of its memory in use: growing it was probably refused."""
    if ended.key or ended.code == 0 or used * 4 < limit * 3:
        return ended
    what = ended.what or f"exited with {ended.code}"
    return Ended(
        ended.kind, ended.code, f"{what} (with {used} of {limit} bytes of memory)", "limits.memory", ended.backtrace
    )


def _in_thread(work: Callable[[], Ended], stack: int) -> Ended:
    """``work`` in a thread with ``stack`` bytes of native stack, which the caller's thread may not have."""
    result: list[Ended | BaseException] = []

    def body() -> None:
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)

    before = threading.stack_size(stack)
    try:
        thread = threading.Thread(target=body, name="workload", daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if isinstance(result[0], Ended):
        return result[0]
    if isinstance(result[0], FastnessError):
        raise result[0]
    raise KeepFailed(f"the runtime failed: {result[0]}")
