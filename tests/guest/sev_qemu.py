"""Stands in for a QEMU on a processor with SEV: same options, same monitor, the firmware a forge's.

It launches what it was told to in a firmware of bytes, answers the monitor as QEMU does, and on ``cont`` becomes the
real QEMU, emulating: kernel, initrd and command line as they were, and the decrypted secrets in reserved memory, as
edk2's AmdSevX64 would have left them. What lies between a chip and this is in LIMITATIONS.

``FOLDER/pdh.pem`` is the platform's key, ``FOLDER/lie`` a lie to tell; ``FOLDER/heard`` becomes the commands heard.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fastness.forge.sev_firmware import Firmware, Guest
from fastness.image.measure import Parts, ovmf, sev, vmsa
from fastness.wire import injected

SECRET_AT = 0xF00000
DROPPED = {"-object": 1, "-drive": 1, "-S": 0, "-mon": 1, "-cpu": 1, "-accel": 1, "-machine": 1, "-append": 1}


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def launched(words: list[str], firmware: Firmware, lie: str) -> tuple[Guest, int]:
    """The guest of the command line, launched and encrypted as the firmware is asked to; and its policy."""
    found = dict(pair.partition("=")[::2] for pair in after(words, "-object").split(",")[1:])
    read = lambda name: base64.b64decode(Path(found[name]).read_bytes())  # noqa: E731
    policy = int(found["policy"], 16)
    guest = firmware.start(read("dh-cert-file"), read("session-file"), policy)
    place = next(word for word in after(words, "-drive").split(",") if word.startswith("file=")).removeprefix("file=")
    code = ovmf.read(Path(place).read_bytes())
    line = after(words, "-append") + (" init=/evil" if lie == "other command line" else "")
    parts = Parts(Path(after(words, "-kernel")).read_bytes(), Path(after(words, "-initrd")).read_bytes(), line)
    firmware.update(guest, code.data)
    firmware.update(guest, sev.hashes(parts))
    cpu = vmsa.processor(after(words, "-cpu"))
    for page in vmsa.pages(int(after(words, "-smp")), code.reset, cpu, 0):
        firmware.update(guest, page)
    return guest, policy


def attend(monitor: socket.socket, firmware: Firmware, guest: Guest, policy: int, folder: Path) -> bytes:
    """Answers the monitor until the guest may run; the secrets it was given."""
    lines = monitor.makefile("rwb")
    secrets = b""
    say = lambda value: (lines.write(json.dumps(value).encode() + b"\r\n"), lines.flush())  # noqa: E731
    say({"QMP": {"version": {"qemu": {"major": 10, "minor": 1}}, "capabilities": []}})
    for line in lines:
        asked = json.loads(line)
        with (folder / "heard").open("a") as heard:
            heard.write(asked["execute"] + "\n")
        answer: dict[str, object] = {}
        match asked["execute"]:
            case "query-sev":
                answer = {"enabled": True, "api-major": firmware.api[0], "api-minor": firmware.api[1],
                          "build-id": firmware.build, "policy": policy, "state": "launch-secret"}  # fmt: skip
            case "query-sev-launch-measure":
                answer = {"data": base64.b64encode(firmware.measure(guest)).decode()}
            case "sev-inject-launch-secret":
                given = asked["arguments"]
                header, data = (base64.b64decode(given[name]) for name in ("packet-header", "secret"))
                secrets = firmware.secret(guest, header, data)
        say({"return": answer})
        if asked["execute"] == "cont":
            break
    return secrets


def emulated(words: list[str], line: str, place: Path) -> list[str]:
    """The real QEMU's command line for the same machine, without encryption."""
    kept, skip = [], 0
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if skip:
            skip -= 1
        elif word in DROPPED or (word == "-chardev" and "id=monitor" in following):
            skip = DROPPED.get(word, 1)
        else:
            kept.append(word)
    kept += ["-accel", "tcg", "-cpu", "max,-cx16", "-machine", "q35"]
    kept += ["-device", f"loader,file={place},addr=0x{SECRET_AT:x},force-raw=on"]
    return [*kept, "-append", f"{line} memmap=4K$0x{SECRET_AT:x}"]


def main(folder: Path, real: str, words: list[str]) -> None:
    lie = (folder / "lie").read_text() if (folder / "lie").exists() else ""
    key = load_pem_private_key((folder / "pdh.pem").read_bytes(), None)
    firmware = Firmware(key)  # type: ignore[arg-type]
    guest, policy = launched(words, firmware, lie)
    handle = re.search(r"id=monitor,fd=(\d+)", " ".join(words))
    secrets = attend(socket.socket(fileno=int(handle[1] if handle else 0)), firmware, guest, policy, folder)
    if lie == "another guest":
        secrets = injected.table({injected.KEEP: bytes(32)})
    place = folder / f"secrets.{os.getpid()}"
    place.write_bytes(secrets)
    os.execv(real, [real, *emulated(words, after(words, "-append"), place)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
