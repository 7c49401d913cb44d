"""Code that is altered in memory is noticed: bytes of a page, byte code of a function, a new executable page."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import wasmtime

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
EMPTY = wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))').hex()
HEAD = """
import ctypes, mmap, sys
import fastness.keep.protocol, fastness.keep.runtime as runtime
from fastness.errors import KeepFailed
from fastness.keep.integrity import Integrity
from fastness.workload.manifest import Manifest
watch = Integrity()
with watch.growing():
    pass
def page(rights):
    space = mmap.mmap(-1, 4096, prot=rights)
    return space
def poke(at):  # as a debugger would: rights of the page stay what they are
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(at)
        byte = memory.read(1)[0]
        memory.seek(at)
        memory.write(bytes((byte ^ 1,)))
def protect(address, rights):
    start = address & ~4095
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), ctypes.c_size_t(8192), rights):
        raise OSError
"""


def told(body: str) -> str:
    """What ``body`` prints in a process of its own, with ``watch`` settled."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(body).replace("EMPTY", EMPTY)],
        capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": SOURCE},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_changes_by_itself() -> None:
    assert told("print(repr(watch.check()), len(watch._memory) > 10, len(watch._code) > 250)") == "'' True True"


def test_a_compiler_that_was_warmed_leaves_nothing_behind() -> None:
    words = told("""
        before = set(watch._memory)
        with watch.growing():
            runtime.warm()
        print(repr(watch.check()), before == set(watch._memory))
    """)
    assert words == "'' True"


def test_code_is_added_by_one_at_a_time() -> None:
    words = told("""
        import threading
        first, second = threading.Event(), threading.Event()
        def one():
            with watch.growing():
                first.wait()
        def other():
            with watch.growing():
                second.set()
        threads = [threading.Thread(target=one), threading.Thread(target=other)]
        threads[0].start()
        while not watch._growing:
            pass
        threads[1].start()
        early = second.wait(0.2)
        first.set()
        for thread in threads:
            thread.join()
        print(early, second.is_set(), repr(watch.check()))
    """)
    assert words == "False True ''"


def test_a_byte_of_a_library_that_changes_is_noticed() -> None:
    words = told("""
        at = ctypes.cast(runtime.engine.LIB.wasm_config_new, ctypes.c_void_p).value
        poke(at)
        print(watch.check())
    """)
    assert "_libwasmtime.so was altered" in words


def test_memory_that_is_made_executable_and_writable_is_noticed() -> None:
    words = told("""
        at = ctypes.cast(runtime.engine.LIB.wasm_config_new, ctypes.c_void_p).value
        protect(at, 7)
        print(watch.check())
    """)
    assert "changed its rights" in words


def test_new_executable_memory_is_noticed() -> None:
    assert "became executable" in told("space = page(mmap.PROT_READ | mmap.PROT_EXEC); print(watch.check())")


def test_a_function_that_is_replaced_is_noticed() -> None:
    words = told("""
        def impostor(data): return bytes(32)
        fastness.keep.protocol.binding.sha256.__code__ = impostor.__code__
        print(watch.check())
    """)
    assert "fastness.seal.binding.sha256" in words


def test_a_method_that_is_replaced_is_noticed() -> None:
    words = told("""
        fastness.keep.protocol.Service.take = lambda self, sock: None
        print(watch.check())
    """)
    assert "fastness.keep.protocol.Service.take" in words


def test_the_compiled_workload_is_measured_too() -> None:
    words = told("""
        wasm = bytes.fromhex("EMPTY")
        before = set(watch._memory)
        with watch.growing():
            compiled = runtime.compile(wasm, Manifest())
        print(repr(watch.check()))
        fresh = [item for item in watch._memory if item not in before]
        at = fresh[0].start
        poke(at)
        print(watch.check())
    """).splitlines()
    assert words[0] == "''"
    assert "the compiled workload was altered" in words[1]


def test_a_workload_that_has_ended_is_no_alarm() -> None:
    words = told("""
        import asyncio, concurrent.futures.thread, gc
        from fastness.keep.execution import Execution
        from fastness.keep.output import Output
        from fastness.seal.messages import Workload
        async def lives():
            workload = Workload(bytes.fromhex("EMPTY"), Manifest().to_cbor(), {}, {}, bytes(32), False, 0)
            execution = Execution(workload, None, Output(), watch)
            await execution.prepare()
            execution.stdin(b"")
            return await execution.run()
        print(asyncio.run(lives()).outcome)
        gc.collect()
        print(repr(watch.check()))
    """).splitlines()
    assert words == ["exit", "''"]


def test_code_that_was_altered_while_more_was_added_is_not_taken_for_good() -> None:
    words = told("""
        at = ctypes.cast(runtime.engine.LIB.wasm_config_new, ctypes.c_void_p).value
        with watch.growing():
            poke(at)
        print(watch.check())
    """)
    assert "_libwasmtime.so was altered" in words


def test_memory_both_executable_and_writable_is_never_good() -> None:
    words = told("""
        try:
            with watch.growing():
                space = page(7)
        except KeepFailed as error:
            print(error.what)
    """)
    assert "executable and writable at once" in words


@pytest.mark.parametrize("name", ["check", "growing"])
def test_a_check_waits_for_a_measurement_that_runs(name: str) -> None:
    assert (
        told(f"""
        import threading
        with watch._lock:
            work = watch.check if {name == "check"} else watch.growing().__enter__
            thread = threading.Thread(target=work)
            thread.start(); thread.join(0.2)
            print(thread.is_alive())
        thread.join(10)
    """)
        == "True"
    )


@pytest.mark.parametrize("way", ["_gmac", "_poly"])
def test_either_way_of_tagging_notices_one_bit_and_the_place(way: str) -> None:
    words = told(f"""
        from fastness.keep.integrity import Range, _Tags
        tags, other = _Tags(), _Tags()
        tags._way = tags.{way}
        other._way = other.{way}
        space = page(mmap.PROT_READ | mmap.PROT_WRITE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(space))
        item = Range(start, start + 4096, "r-xp", "")
        before = tags.of(item)
        print(tags.of(item) == before, other.of(item) == before)
        space[4095] = 1
        print(tags.of(item) == before)
        space[4095] = 0
        print(tags.of(item) == before, tags.of(Range(start, start + 2048, "r-xp", "")) == before)
    """).splitlines()
    assert words == ["True False", "False", "True False"]


def test_a_check_before_anything_is_known_waits_for_the_first_measurement() -> None:
    words = told("""
        import threading
        fresh = Integrity()
        thread = threading.Thread(target=lambda: print(repr(fresh.check())))
        thread.start(); thread.join(0.2)
        print(thread.is_alive())
        fresh.know()
        thread.join(10)
    """).splitlines()
    assert words == ["True", "''"]
