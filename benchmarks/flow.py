"""Start-up, `run`, `deploy` to a warm host, and streamed output, each beside a floor measured in the same run.

    python benchmarks/flow.py [--rounds 15] [--mib 1024]

* ``fastness --version`` against ``python -c pass`` (bound: 5 ×);
* ``fastness run hello.wasm``, whole process, against the same (aim: 8 ×), and each stage;
* ``deploy`` to a warm ``nil`` host: challenge to first output (aim: 60 ms), each stage;
* stdout of a guest through keep, host and tenant, against a plain TLS 1.3 proxy in Python on loopback (bound: half).

Wall time of whole processes, interleaved, medians.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import wasmtime

HELLO = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 8) "hello\\n")
  (func (export "_start") (i32.store (i32.const 0) (i32.const 8)) (i32.store (i32.const 4) (i32.const 6))
    (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 40)))))"""
# writes N times 64 KiB
FLOOD = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $n i32) (local.set $n (i32.const %d))
    (loop $again
      (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 65536))
      (if (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)) (then unreachable))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))))"""
FASTNESS = [sys.executable, "-m", "fastness"]


def seconds(command: list[str]) -> tuple[float, str]:
    """Wall time of a process, and its stderr."""
    begin = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    return time.perf_counter() - begin, done.stderr.decode()


def ratio(name: str, command: list[str], floor: list[str], rounds: int, bound: str) -> None:
    """Prints the median of pairwise ratios."""
    pairs = [(seconds(command)[0], seconds(floor)[0]) for _ in range(rounds + 1)][1:]
    middle = statistics.median(one / other for one, other in pairs)
    took = statistics.median(one for one, _ in pairs)
    print(f"{name}: {took * 1000:.1f} ms, {middle:.2f} x a bare interpreter ({bound})")


def stages(text: str) -> dict[str, float]:
    """Stage → milliseconds, from ``--timings``."""
    return {name.strip(): float(value) for name, value in re.findall(r"^\s*(.+?)\s+([\d.]+) ms$", text, re.M)}


@contextmanager
def host() -> Iterator[str]:
    """A host with a keep ready."""
    command = [*FASTNESS, "host", "serve", "--listen", "127.0.0.1:0", "--spare", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    url = next(match[1] for line in process.stderr or () if (match := re.search(r"listening on (\S+)", line)))
    time.sleep(1)
    try:
        yield url
    finally:
        process.terminate()
        process.communicate()


def deploys(url: str, app: Path, rounds: int) -> None:
    """Prints the stages of ``deploy`` to a warm host."""
    seen: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        command = [*FASTNESS, "deploy", str(app), "--host", url, "--policy", "development", "--timings"]
        seen.append(stages(seconds(command)[1]))
        time.sleep(0.5)
    names = ("tls", "evidence", "verdict", "delivery", "measured", "first output")
    middle = {name: statistics.median(item[name] for item in seen[1:]) for name in names}
    print("deploy, warm host: " + ", ".join(f"{name} {value:.1f}" for name, value in middle.items()) + " ms")
    total = statistics.median(sum(item[name] for name in names) for item in seen[1:])
    print(f"deploy, challenge to first output: {total:.1f} ms (aim 60)")


def plain_tls(mib: int, folder: Path) -> float:
    """Seconds to carry ``mib`` through a plain TLS 1.3 proxy of two threads with ``ssl``."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"), "-days", "9"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    listening, backend = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))

    def source() -> None:
        sock, _ = backend.accept()
        data = bytes(1 << 20)
        for _ in range(mib):
            sock.sendall(data)
        sock.close()

    def proxy() -> None:
        sock, _ = listening.accept()
        inside = socket.create_connection(backend.getsockname())
        outside = context.wrap_socket(sock, server_side=True)
        while data := inside.recv(1 << 18):
            outside.sendall(data)
        outside.close()

    for work in (source, proxy):
        threading.Thread(target=work, daemon=True).start()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    begin, got = time.perf_counter(), 0
    with client.wrap_socket(socket.create_connection(listening.getsockname())) as sock:
        buffer = bytearray(1 << 18)
        while size := sock.recv_into(buffer):
            got += size
    if got != mib << 20:
        raise SystemExit("the plain proxy lost bytes")
    return time.perf_counter() - begin


def streams(url: str, folder: Path, mib: int) -> None:
    """Prints the throughput of streamed stdout beside the plain proxy's."""
    app = folder / "flood.wasm"
    app.write_bytes(wasmtime.wat2wasm(FLOOD % (mib * 16)))
    floor = plain_tls(mib, folder)
    command = [*FASTNESS, "deploy", str(app), "--host", url, "--policy", "development"]
    buffer = bytearray(1 << 16)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        handle = process.stdout.fileno()  # type: ignore[union-attr]
        got = os.readv(handle, [buffer])  # start-up and attestation are told above; here the stream alone counts
        begin = time.perf_counter()
        while size := os.readv(handle, [buffer]):
            got += size
    took = time.perf_counter() - begin
    if got != mib << 20:
        raise SystemExit(f"lost bytes: {got}")
    shown = f"{mib / took:.0f} MiB/s, plain TLS proxy {mib / floor:.0f} MiB/s"
    print(f"stdout, {mib} MiB: {shown}, {floor / took:.2f} of it (bound 0.5)")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mib", type=int, default=1024)
    options = parser.parse_args()
    bare = [sys.executable, "-c", "pass"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        app = folder / "hello.wasm"
        app.write_bytes(wasmtime.wat2wasm(HELLO))
        ratio("fastness --version", [*FASTNESS, "--version"], bare, options.rounds, "bound 5")
        ratio("fastness run hello.wasm", [*FASTNESS, "run", str(app)], bare, options.rounds, "aim 8")
        shown = stages(seconds([*FASTNESS, "run", str(app), "--timings"])[1])
        print("run: " + ", ".join(f"{name} {value:.1f}" for name, value in shown.items()) + " ms")
        with host() as url:
            deploys(url, app, options.rounds)
            streams(url, folder, options.mib)


if __name__ == "__main__":
    main()
