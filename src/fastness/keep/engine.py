"""The part of wasmtime's C API (``wasmtime.h``, 50) that a keep uses, called directly.

The wheel's own Python layer binds all of it and takes 55 ms to import, four times what the interpreter takes to start;
these thirty-odd functions take three. The library is the wheel's, found without importing the wheel. Pointers are plain
integers here; who owns them is written at each function that takes or gives one.
"""

from __future__ import annotations

import ctypes
import os
from importlib.machinery import PathFinder
from pathlib import Path

from fastness.errors import KeepFailed

P, B, S, I64 = ctypes.c_void_p, ctypes.c_bool, ctypes.c_size_t, ctypes.c_int64
TEXT = ctypes.c_char_p
EXTERN_FUNC, EXTERN_MEMORY = 0, 3
COMPONENT_RESULT = 19
GROWTH = 1 << 20
"""Bytes a memory in an enclave may grow by before it is copied to a larger place."""

FUNCTIONS: dict[str, tuple[object, ...]] = {  # name: result, arguments
    "wasm_config_new": (P,),
    "wasmtime_config_consume_fuel_set": (None, P, B),
    "wasmtime_config_max_wasm_stack_set": (None, P, S),
    "wasmtime_config_async_stack_size_set": (None, P, S),
    "wasmtime_config_parallel_compilation_set": (None, P, B),
    "wasmtime_config_memory_init_cow_set": (None, P, B),
    "wasmtime_config_signals_based_traps_set": (None, P, B),
    "wasmtime_config_memory_reservation_set": (None, P, ctypes.c_uint64),
    "wasmtime_config_memory_reservation_for_growth_set": (None, P, ctypes.c_uint64),
    "wasmtime_config_memory_guard_size_set": (None, P, ctypes.c_uint64),
    "wasmtime_config_wasm_threads_set": (None, P, B),
    "wasmtime_config_wasm_memory64_set": (None, P, B),
    "wasmtime_config_wasm_multi_memory_set": (None, P, B),
    "wasm_engine_new_with_config": (P, P),
    "wasm_engine_delete": (None, P),
    "wasmtime_module_new": (P, P, TEXT, S, P),
    "wasmtime_module_delete": (None, P),
    "wasmtime_store_new": (P, P, P, P),
    "wasmtime_store_context": (P, P),
    "wasmtime_store_limiter": (None, P, I64, I64, I64, I64, I64),
    "wasmtime_store_delete": (None, P),
    "wasmtime_context_set_fuel": (P, P, ctypes.c_uint64),
    "wasmtime_context_set_wasi": (P, P, P),
    "wasi_config_new": (P,),
    "wasi_config_delete": (None, P),
    "wasi_config_set_argv": (B, P, S, P),
    "wasi_config_set_env": (B, P, S, P, P),
    "wasi_config_set_stdin_file": (B, P, TEXT),
    "wasi_config_set_stdout_file": (B, P, TEXT),
    "wasi_config_set_stderr_file": (B, P, TEXT),
    "wasi_config_inherit_stdin": (None, P),
    "wasi_config_inherit_stdout": (None, P),
    "wasi_config_inherit_stderr": (None, P),
    "wasi_config_preopen_dir": (B, P, TEXT, TEXT, B),
    "wasmtime_linker_new": (P, P),
    "wasmtime_linker_delete": (None, P),
    "wasmtime_linker_define_wasi": (P, P),
    "wasmtime_linker_define_unknown_imports_as_traps": (P, P, P),
    "wasmtime_linker_instantiate": (P, P, P, P, P, P),
    "wasmtime_instance_export_get": (B, P, P, TEXT, S, P),
    "wasmtime_func_call": (P, P, P, P, S, P, S, P),
    "wasmtime_memory_data_size": (S, P, P),
    "wasmtime_component_new": (P, P, TEXT, S, P),
    "wasmtime_component_delete": (None, P),
    "wasmtime_component_linker_new": (P, P),
    "wasmtime_component_linker_delete": (None, P),
    "wasmtime_component_linker_add_wasip2": (P, P),
    "wasmtime_component_linker_instantiate": (P, P, P, P, P),
    "wasmtime_component_instance_get_export_index": (P, P, P, P, TEXT, S),
    "wasmtime_component_export_index_delete": (None, P),
    "wasmtime_component_instance_get_func": (B, P, P, P, P),
    "wasmtime_component_func_call": (P, P, P, P, S, P, S),
    "wasmtime_component_val_delete": (None, P),
    "wasmtime_error_message": (None, P, P),
    "wasmtime_error_exit_status": (B, P, P),
    "wasmtime_error_wasm_trace": (None, P, P),
    "wasmtime_error_delete": (None, P),
    "wasm_trap_message": (None, P, P),
    "wasm_trap_trace": (None, P, P),
    "wasm_trap_delete": (None, P),
    "wasmtime_frame_func_name": (P, P),
    "wasm_frame_func_index": (ctypes.c_uint32, P),
    "wasm_frame_module_offset": (S, P),
    "wasm_frame_vec_delete": (None, P),
    "wasm_byte_vec_delete": (None, P),
}


class Vector(ctypes.Structure):
    """``wasm_byte_vec_t`` and ``wasm_frame_vec_t``: a size and a pointer."""

    _fields_ = (("size", S), ("data", P))


class Extern(ctypes.Structure):
    """``wasmtime_extern_t``: a kind and 24 bytes that only the library reads."""

    _fields_ = (("kind", ctypes.c_uint8), ("of", ctypes.c_uint64 * 3))


class Result(ctypes.Structure):
    """``wasmtime_component_val_t`` (32 bytes) of kind result: whether it is ok, and what we do not look at."""

    _fields_ = (("kind", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 7), ("ok", B), ("rest", ctypes.c_uint64 * 2))


class Stopped(Exception):
    """The engine stopped or refused.

    Attributes:
        message: the engine's words, often several lines.
        code: the guest's exit code, or None.
        frames: WebAssembly functions, innermost first.
    """

    def __init__(self, message: str, code: int | None = None, frames: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.frames = frames


def _load() -> ctypes.CDLL:
    wheel = PathFinder.find_spec("wasmtime")
    if wheel is None or wheel.origin is None:
        raise KeepFailed("wasmtime is not installed", hint="pip install 'wasmtime>=50,<51'")
    path = Path(wheel.origin).parent / f"linux-{os.uname().machine}" / "_libwasmtime.so"
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, *arguments) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise KeepFailed(f"wasmtime cannot be loaded: {error}", hint="pip install 'wasmtime>=50,<51'") from None
    return library


LIB = _load()


def enclose(config: int) -> None:
    """Settings for an enclave, where address space is memory, and that a fault happened is the host's word.

    Nothing is set aside for a memory to grow into, and every access is checked by an instruction in place of a page
    without rights: no trap is a signal.
    """
    LIB.wasmtime_config_signals_based_traps_set(config, False)
    LIB.wasmtime_config_memory_reservation_set(config, 0)
    LIB.wasmtime_config_memory_reservation_for_growth_set(config, GROWTH)
    LIB.wasmtime_config_memory_guard_size_set(config, 0)


def check(error: int | None, trap: ctypes.c_void_p | None = None) -> None:
    """Raises the :class:`Stopped` of an error or a trap the library gave (and we own), if it gave one."""
    if trap is not None and trap.value:
        stopped = Stopped(_text(LIB.wasm_trap_message, trap), None, _frames(LIB.wasm_trap_trace, trap))
        LIB.wasm_trap_delete(trap)
        raise stopped
    if error:
        code = ctypes.c_int()
        exited = LIB.wasmtime_error_exit_status(error, ctypes.byref(code))
        message = _text(LIB.wasmtime_error_message, error)
        stopped = Stopped(message, code.value if exited else None, _frames(LIB.wasmtime_error_wasm_trace, error))
        LIB.wasmtime_error_delete(error)
        raise stopped


def strings(texts: list[str]) -> ctypes.Array[ctypes.c_char_p]:
    """``char *[]`` of ``texts``, none of which may hold NUL. At least one element long."""
    return (TEXT * max(1, len(texts)))(*(text.encode() for text in texts))


def _text(give: ctypes._NamedFuncPointer, owner: int | ctypes.c_void_p) -> str:
    vector = Vector()
    give(owner, ctypes.byref(vector))
    text = ctypes.string_at(vector.data, vector.size).rstrip(b"\0").decode(errors="replace") if vector.size else ""
    LIB.wasm_byte_vec_delete(ctypes.byref(vector))
    return text


def _frames(give: ctypes._NamedFuncPointer, owner: int | ctypes.c_void_p) -> tuple[str, ...]:
    vector = Vector()
    give(owner, ctypes.byref(vector))
    pointers = ctypes.cast(vector.data, ctypes.POINTER(P))
    frames = tuple(_frame(pointers[index]) for index in range(vector.size))
    LIB.wasm_frame_vec_delete(ctypes.byref(vector))
    return frames


def _frame(frame: int | None) -> str:
    named = LIB.wasmtime_frame_func_name(frame)
    name = f"function {LIB.wasm_frame_func_index(frame)}"
    if named:
        vector = Vector.from_address(named)
        name = ctypes.string_at(vector.data, vector.size).decode(errors="replace") if vector.size else name
    offset: int = LIB.wasm_frame_module_offset(frame)
    return f"{name} at 0x{offset:x}" if offset < 1 << 63 else name  # all ones where the engine does not know
