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

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import wasmtime
from wasmtime import _ffi as ffi
from wasmtime import component as components

from fastness.errors import FastnessError, KeepFailed, Malformed, UsageError
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
PARALLEL_FROM = 64 * KIB
"""Binaries smaller than this many bytes compile in one thread: starting a pool costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Ended:
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

_FRAME = re.compile(r"^\s*\d+:\s+0x[0-9a-f]+ - (.+)$", re.MULTILINE)


def compile(binary: bytes, manifest: Manifest) -> Compiled:  # noqa: A001 (it is the word)
    """Checks ``binary`` against ``manifest`` and compiles it.

    Raises:
        Malformed: not a sound WebAssembly binary.
        UsageError: it imports what the manifest does not grant, or the manifest asks for what cannot be run yet.
        KeepFailed: the engine could not be set up.
    """
    program = wasm.read(binary)
    check_supported(manifest)
    wasm.check_grants(program, manifest)
    engine = _engine(manifest, parallel=len(binary) >= PARALLEL_FROM)
    try:
        if program.component:
            return Compiled(manifest, program, engine, components.Component(engine, binary))
        return Compiled(manifest, program, engine, wasmtime.Module(engine, binary))
    except wasmtime.WasmtimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        offset = re.search(r"\(at offset (0x[0-9a-f]+)\)", str(error))
        raise Malformed(
            f"the engine refuses the binary: {lines[-1] if lines else 'no reason given'}",
            where=f"byte {int(offset[1], 16)}" if offset else "",
            hint="build it for wasm32-wasi or wasm32-wasip2 with features the engine has",
        ) from None


def _engine(manifest: Manifest, *, parallel: bool) -> wasmtime.Engine:
    config = wasmtime.Config()
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = False
    config.consume_fuel = manifest.limits.fuel is not None
    config.max_wasm_stack = manifest.limits.stack
    ffi.wasmtime_config_async_stack_size_set(config.ptr(), manifest.limits.stack + NATIVE_STACK)
    ffi.wasmtime_config_parallel_compilation_set(config.ptr(), parallel)
    ffi.wasmtime_config_memory_init_cow_set(config.ptr(), arg1=False)  # one run per process: nothing to share
    try:
        return wasmtime.Engine(config)
    except wasmtime.WasmtimeError as error:
        raise KeepFailed(f"the engine cannot be set up: {error}") from None


class Compiled:
    """A workload ready to run. Made by :func:`compile`."""

    __slots__ = ("code", "engine", "manifest", "program")

    def __init__(
        self,
        manifest: Manifest,
        program: wasm.Program,
        engine: wasmtime.Engine,
        code: wasmtime.Module | components.Component,
    ) -> None:
        self.manifest = manifest
        self.program = program
        self.engine = engine
        self.code = code

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

    def _wasi(
        self, streams: tuple[int, int, int], root: Path | None, secrets: Mapping[str, bytes]
    ) -> wasmtime.WasiConfig:
        wasi = wasmtime.WasiConfig()
        wasi.argv = [ARGV0, *self.manifest.args]
        wasi.env = environment(self.manifest, secrets)
        kinds = [file.kind for file in self.manifest.files] + ["null"] * 3
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            if kinds[number] != "null":
                _stream(wasi, name, number, streams[("stdin", "stdout", "stderr").index(kinds[number])])
        if root is not None:
            try:
                wasi.preopen_dir(str(root), "/", fs_mutable=False)
            except wasmtime.WasmtimeError:
                raise KeepFailed("the folder of assets and secrets cannot be opened", where=str(root)) from None
        return wasi

    def _run(self, wasi: wasmtime.WasiConfig) -> Ended:
        limits = self.manifest.limits
        store = wasmtime.Store(self.engine)
        try:
            store.set_limits(limits.memory, limits.table, MAX_INSTANCES, MAX_INSTANCES, MAX_MEMORIES)
            store.set_wasi(wasi)
            if limits.fuel is not None:
                store.set_fuel(limits.fuel)
            if isinstance(self.code, components.Component):
                return self._run_component(store, self.code)
            return self._run_module(store, self.code)
        finally:
            store.close()

    def _run_module(self, store: wasmtime.Store, code: wasmtime.Module) -> Ended:
        linker = wasmtime.Linker(self.engine)
        linker.define_wasi()
        if self.manifest.trap_imports:
            linker.define_unknown_imports_as_traps(code)
        memory: wasmtime.Memory | None = None
        try:
            exports = linker.instantiate(store, code).exports(store)
            memory = _memory(exports)
            start = exports["_start"]
            if not isinstance(start, wasmtime.Func):
                raise wasmtime.WasmtimeError("_start is not a function")
            start(store)
        except wasmtime.ExitTrap as end:
            ended = Ended("exit", end.code)
        except wasmtime.Trap as trap:
            ended = _stopped(trap.message, _names(trap.frames))
        except wasmtime.WasmtimeError as error:
            ended = _stopped(str(error), _FRAME.findall(str(error)))
        else:
            ended = Ended("exit", 0)
        return ended if memory is None else _with_memory(ended, memory.data_len(store), self.manifest.limits.memory)

    def _run_component(self, store: wasmtime.Store, code: components.Component) -> Ended:
        linker = components.Linker(self.engine)
        linker.add_wasip2()
        try:
            instance = linker.instantiate(store, code)
            return Ended("exit", _call_run(store, instance, self.program))
        except wasmtime.ExitTrap as end:
            return Ended("exit", end.code)
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            return _stopped(str(error), _FRAME.findall(str(error)))


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


def _stream(wasi: wasmtime.WasiConfig, name: str, number: int, descriptor: int) -> None:
    try:
        setattr(wasi, f"{name}_file", f"/proc/self/fd/{descriptor}")
    except wasmtime.WasmtimeError:
        if descriptor != number:
            raise KeepFailed(f"{name} of the workload cannot be opened", where=f"descriptor {descriptor}") from None
        getattr(wasi, f"inherit_{name}")()


def _call_run(store: wasmtime.Store, instance: components.Instance, program: wasm.Program) -> int:
    name = next(name for name, _ in program.exports if name.startswith("wasi:cli/run"))
    index = instance.get_export_index(store, name)
    inner = instance.get_export_index(store, "run", index) if index is not None else None
    run = instance.get_func(store, inner) if inner is not None else None
    if run is None:
        raise wasmtime.WasmtimeError(f"{name} has no function run")
    result = run(store)
    run.post_return(store)
    return 1 if isinstance(result, components.Variant) and result.tag == "err" else 0


def _memory(exports: Mapping[str, object]) -> wasmtime.Memory | None:
    memory = exports.get("memory")
    return memory if isinstance(memory, wasmtime.Memory) else None


def _names(frames: list[wasmtime.Frame]) -> list[str]:
    return [f"{frame.func_name or f'function {frame.func_index}'}{_offset(frame.module_offset)}" for frame in frames]


def _offset(offset: int) -> str:
    return f" at 0x{offset:x}" if offset < 1 << 63 else ""  # all ones where the engine does not know


def _stopped(message: str, frames: list[str]) -> Ended:
    backtrace = tuple(frames[:MAX_FRAMES])
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
