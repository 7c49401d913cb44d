"""In the guest, before the keep: kernel interfaces of TEEs that are not there. TEST ONLY: what answers is the test.

Started as ``/init`` by an overlay on the shipping initramfs. It loads the test's drivers, serves the device named by
``emulate=`` on the command line (``tsm:sev_guest``, ``tsm:tdx_guest``, ``sev-guest``, ``nsm``, ``gramine``), and
becomes the real init. Each question goes as ``kind (1) ‖ length (4) ‖ body`` through the virtio-serial port ``mock.0``
to the test, which answers ``length (4) ‖ body`` as the chip would. With ``intruder`` on the command line a process
waits for a byte on port ``intruder.0`` and alters the keep's code in memory.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time

PORT = "mock.0"
HERE = "/emulate"
INIT, OPEN, RELEASE, IOCTL = 4096, 14, 18, 39
RETRY, UNRESTRICTED = 4, 1
ENOSYS, EIO = 38, 5
SNP_EXTENDED = 0xC0205302


class Port:
    """The way to the test."""

    def __init__(self, wanted: str = PORT) -> None:
        self.lock = threading.Lock()
        self.handle = -1
        for _ in range(200):
            for name in os.listdir("/sys/class/virtio-ports"):
                with open(f"/sys/class/virtio-ports/{name}/name") as file:
                    if file.read().strip() == wanted:
                        self.handle = os.open(f"/dev/{name}", os.O_RDWR)
                        return
            time.sleep(0.05)
        raise SystemExit("no port to the test")

    def ask(self, kind: bytes, body: bytes) -> bytes:
        with self.lock:
            message = kind + struct.pack(">I", len(body)) + body
            while message:
                message = message[os.write(self.handle, message) :]
            return self.exactly(struct.unpack(">I", self.exactly(4))[0])

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = os.read(self.handle, size - len(data))
            if not part:
                time.sleep(0.05)  # the test's end is not there yet
            data += part
        return data


def tsm(port: Port) -> None:
    device = os.open("/dev/tsm-mock", os.O_RDWR)
    while True:
        os.write(device, port.ask(b"T", os.read(device, 64)))


def gramine(port: Port) -> None:
    while True:
        with open("/dev/attestation/quote", "wb") as quote:  # a FIFO: opens when the keep reads
            quote.write(port.ask(b"G", machine.Path("/dev/attestation/user_report_data").read_bytes()))
        time.sleep(0.2)  # the reader sees the end before the next answer begins


class Cuse:
    """A character device in user space (Linux, Documentation/filesystems/fuse.rst; include/uapi/linux/fuse.h)."""

    def __init__(self, name: str, answer: object) -> None:
        self.name = name
        self.answer = answer
        self.handle = os.open("/dev/cuse", os.O_RDWR)

    def serve(self) -> None:
        while True:
            data = os.read(self.handle, 1 << 17)
            size, opcode, unique = struct.unpack_from("<IIQ", data)
            body = data[40:size]
            if opcode == INIT:
                out = struct.pack("<IIIIIIII40x", 7, 31, 0, UNRESTRICTED, 1 << 16, 1 << 16, 0, 0)
                self.reply(unique, out + b"DEVNAME=" + self.name.encode() + b"\0")
            elif opcode == OPEN:
                self.reply(unique, struct.pack("<QII", 0, 0, 0))
            elif opcode == RELEASE:
                self.reply(unique, b"")
            elif opcode == IOCTL:
                self.ioctl(unique, body)
            else:
                self.reply(unique, b"", ENOSYS)

    def ioctl(self, unique: int, body: bytes) -> None:
        _, _, command, argument, _, out_size = struct.unpack_from("<QIIQII", body)
        given = body[32:]
        step = self.answer(command, argument, given, out_size)  # type: ignore[operator]
        if isinstance(step, bytes):
            self.reply(unique, struct.pack("<iIII", 0, 0, 0, 0) + step)
            return
        ins, outs = step
        places = b"".join(struct.pack("<QQ", *place) for place in (*ins, *outs))
        self.reply(unique, struct.pack("<iIII", 0, RETRY, len(ins), len(outs)) + places)

    def reply(self, unique: int, body: bytes, error: int = 0) -> None:
        os.write(self.handle, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)


def sev_guest(port: Port) -> object:
    """``snp_guest_request_ioctl``: the request names memory that has to be asked for first."""

    def answer(command: int, argument: int, given: bytes, out_size: int) -> object:
        size = 112 if command == SNP_EXTENDED else 96
        if len(given) < 32:
            return [(argument, 32)], []
        _, request, response, _ = struct.unpack_from("<B7xQQQ", given)
        if len(given) < 32 + size:
            return [(argument, 32), (request, size)], []
        asked = given[32 : 32 + size]
        outs = [(argument, 32), (response, 4000)]
        if command == SNP_EXTENDED:
            table, room = struct.unpack_from("<QI", asked, 96)
            outs.append((table, room))
        if not out_size:
            return [(argument, 32), (request, size)], outs
        report = port.ask(b"S", asked[:64])
        out = given[:32] + struct.pack("<II24x", 0, 1184) + report[:1184].ljust(3968, b"\0")
        return out + (report[1184:].ljust(outs[2][1], b"\0") if command == SNP_EXTENDED else b"")

    return answer


def nsm(port: Port) -> object:
    """``nsm_raw``: addresses and lengths of request and response."""

    def answer(command: int, argument: int, given: bytes, out_size: int) -> object:
        if len(given) < 32:
            return [(argument, 32)], []
        request, size, response, room = struct.unpack_from("<QQQQ", given)
        if not out_size:
            return [(argument, 32), (request, size)], [(argument, 32), (response, room)]
        document = port.ask(b"N", given[32 : 32 + size])
        return struct.pack("<QQQQ", request, size, response, len(document)) + document.ljust(room, b"\0")

    return answer


def intruder(port: Port) -> None:
    """Somebody in the machine who can write all memory: when the test says so, one bit of the keep's engine."""
    port.exactly(1)
    for name in os.listdir("/proc"):
        if not name.isdigit() or name in ("1", str(os.getpid())):
            continue
        with open(f"/proc/{name}/maps") as maps:
            found = [line for line in maps if "_libwasmtime.so" in line and " r-xp " in line]
        if not found:
            continue
        start, _, end = found[0].split()[0].partition("-")
        place = (int(start, 16) + int(end, 16)) // 2
        memory = os.open(f"/proc/{name}/mem", os.O_RDWR)
        os.pwrite(memory, bytes((os.pread(memory, 1, place)[0] ^ 1,)), place)
        os.write(port.handle, b"!")


def load(name: str, words: str = "") -> None:
    handle = os.open(f"{HERE}/{name}.ko", os.O_RDONLY)
    kernel.call(313, handle, words.encode() + b"\0", 0)
    os.close(handle)


def wait_for(path: str) -> None:
    for _ in range(200):
        if os.path.exists(path):
            return
        time.sleep(0.02)
    raise SystemExit(f"{path} did not appear")


def start(what: str) -> None:
    port = Port()
    if what.startswith("tsm:"):
        load("tsm_mock", f"provider={what[4:]}")
        wait_for("/dev/tsm-mock")
        work = lambda: tsm(port)  # noqa: E731
    elif what == "gramine":
        os.makedirs("/dev/attestation")
        for name, text in (("attestation_type", b"dcap"), ("user_report_data", bytes(64))):
            with open(f"/dev/attestation/{name}", "wb") as file:
                file.write(text)
        os.mkfifo("/dev/attestation/quote")
        work = lambda: gramine(port)  # noqa: E731
    else:
        load("cuse")
        wait_for("/dev/cuse")
        maker = {"sev-guest": sev_guest, "nsm": nsm}[what]
        work = Cuse(what, maker(port)).serve
    if os.fork() == 0:
        try:
            work()
        finally:
            os._exit(1)
    if what in ("sev-guest", "nsm"):
        wait_for(f"/dev/{what}")


if __name__ == "__main__":
    sys.path.insert(0, "/usr/lib/fastness")
    from fastness.keep import machine
    from fastness.sandbox import kernel

    machine.mount()
    table = machine._table(machine.Path("/lib/modules", os.uname().release))
    for driver in ("configfs", "tsm"):
        machine._load(driver, table, set())
    machine.mount()
    with open("/proc/cmdline") as line:
        words = line.read().split()
    start(next(word[8:] for word in words if word.startswith("emulate=")))
    if "intruder" in words and os.fork() == 0:
        intruder(Port("intruder.0"))
        os._exit(0)
    program = "import sys; sys.path.insert(0, '/usr/lib/fastness'); from fastness.keep.init import main; main()"
    os.execv(sys.executable, [sys.executable, "-IBS", "-c", program])
