"""Launchers: command lines by the letter, needs on made-up machines, refusals; nothing here has silicon."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import json
import re
import shutil
import socket
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import firmware
from fastness.errors import KeepFailed, UsageError
from fastness.forge import sev as sev_forge
from fastness.host import cpuid, machine
from fastness.host.cpuid import Encryption, Registers
from fastness.host.launch import PLATFORMS, Session, confidential, kvm, load, qemu, sev, sgx, snp, tdx
from fastness.host.launch.confidential import Facts, Port
from fastness.host.launch.guard import Guard
from fastness.host.launch.qemu import Program, Settings
from fastness.host.machine import Machine, Need
from fastness.host.survey import survey
from fastness.image.store import Image
from fastness.tee import sev as tee_sev
from fastness.tee.snp import identity

AMD = Encryption(51, 5)


def made(folder: Path, *, debug: bool = False) -> Image:
    """An image of a few bytes."""
    folder.mkdir(exist_ok=True)
    (folder / "cmdline").write_text("console=ttyS0 quiet")
    for name in ("vmlinuz", "keep.cpio.zst", "keep.efi", "keep.eif"):
        (folder / name).write_bytes(name.encode())
    return Image(folder, "d1" * 32, {"debug": debug, "root": []})


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return made(tmp_path / "image")


def facts(image: Image, **more: object) -> Facts:
    found = Facts(Program("/usr/bin/qemu-system-x86_64", (10, 1)), image, Path("/fw/OVMF.fd"), encryption=AMD)
    return replace(found, **more)  # type: ignore[arg-type]


HEAD = [
    "/usr/bin/qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", "-accel", "kvm",
]  # fmt: skip
SERIAL = [
    "-chardev", "socket,id=channel,fd=9", "-device", "virtio-serial-pci",
    "-device", "virtserialport,chardev=channel,name=fastness.keep.0",
]  # fmt: skip


def parts(image: Image) -> list[str]:
    return ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", "console=ttyS0 quiet"]


def test_snp_by_the_letter(image: Image) -> None:
    launcher = snp.Launcher(Settings(memory=1024, vcpus=2, guard=Guard(host_data="ab" * 32)))
    data = base64.b64encode(b"\xab" * 32).decode()
    guest = "sev-snp-guest,id=guard,cbitpos=51,reduced-phys-bits=1,policy=0x30000,kernel-hashes=on"
    assert launcher.command(facts(image), Port(9)) == [
        *HEAD, "-cpu", "EPYC-v4", "-smp", "2", "-m", "1024", "-serial", "stdio", *SERIAL,
        "-object", "memory-backend-memfd,id=ram,size=1024M,share=on",
        "-object", f"{guest},host-data={data}",
        "-machine", "q35,confidential-guest-support=guard,memory-backend=ram", "-bios", "/fw/OVMF.fd", *parts(image),
    ]  # fmt: skip


def test_snp_from_an_igvm_file_is_given_nothing_besides(image: Image) -> None:
    command = snp.Launcher().command(facts(image, firmware=Path("/fw/a,b.igvm"), is_igvm=True), Port(cid=77))
    assert command[-4:] == ["-machine", "q35,confidential-guest-support=guard,memory-backend=ram,igvm-cfg=image",
                            "-object", "igvm-cfg,id=image,file=/fw/a,,b.igvm"]  # fmt: skip
    assert not {"-bios", "-kernel", "-initrd", "-append"} & set(command)
    assert "kernel-hashes=off" in next(word for word in command if word.startswith("sev-snp-guest"))
    assert "vhost-vsock-pci,guest-cid=77" in command
    assert not any("virtserialport" in word for word in command)


@pytest.mark.parametrize("author", [False, True])
def test_snp_with_the_owners_block(image: Image, tmp_path: Path, author: bool) -> None:
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(2)]
    block, proof = identity.make_id_block(bytes(48), snp.POLICY, keys[0], author=keys[1] if author else None)
    chosen = Guard(id_block=str(tmp_path / "block"), id_auth=str(tmp_path / "auth"))
    (tmp_path / "block").write_bytes(block)
    (tmp_path / "auth").write_bytes(proof)
    guest = snp.Launcher(Settings(guard=chosen)).guest(facts(image)).split(",")
    assert f"id-block={base64.b64encode(block).decode()}" in guest
    assert f"id-auth={base64.b64encode(proof).decode()}" in guest
    assert ("author-key-enabled=on" in guest) is author
    with pytest.raises(UsageError, match="for policy 0x30000, not 0x20000"):
        snp.Launcher(Settings(guard=replace(chosen, policy=0x20000))).guest(facts(image))
    with pytest.raises(UsageError, match="go together"):
        snp.Launcher(Settings(guard=replace(chosen, id_auth=""))).guest(facts(image))
    (tmp_path / "block").write_bytes(block[:95])
    with pytest.raises(UsageError, match="need 96 bytes, have 95"):
        snp.Launcher(Settings(guard=chosen)).guest(facts(image))


def test_a_machine_that_may_be_debugged_is_for_debug_images(image: Image, tmp_path: Path) -> None:
    launcher = snp.Launcher(Settings(guard=Guard(policy=0xB0000)))
    with pytest.raises(UsageError, match="lets the host read"):
        launcher.guest(facts(image))
    assert "policy=0xb0000" in launcher.guest(facts(made(tmp_path / "debug", debug=True)))


def test_tdx_by_the_letter(image: Image) -> None:
    launcher = tdx.Launcher(Settings(guard=Guard(mrconfigid="01" * 48, quote_socket="unix:/run/qgs.socket")))
    command = launcher.command(facts(image, encryption=None), Port(9))
    at = command.index("-object")
    assert json.loads(command.pop(at + 1)) == {
        "qom-type": "tdx-guest", "id": "guard", "mrconfigid": base64.b64encode(b"\1" * 48).decode(),
        "quote-generation-socket": {"type": "unix", "path": "/run/qgs.socket"},
    }  # fmt: skip
    assert command == [
        *HEAD, "-cpu", "host", "-smp", "1", "-m", "512", "-serial", "stdio", *SERIAL, "-object",
        "-machine", "q35,confidential-guest-support=guard,kernel-irqchip=split", "-bios", "/fw/OVMF.fd", *parts(image),
    ]  # fmt: skip
    unified = tdx.Launcher(Settings(boot="uki")).command(facts(image), Port(9))
    assert unified[-2:] == ["-kernel", str(image.uki)]
    assert json.loads(unified[at + 1])["quote-generation-socket"] == {"type": "vsock", "cid": "2", "port": "4050"}
    for wrong in ("tcp:1:2", "vsock:host:4050", "unix:relative"):
        with pytest.raises(UsageError, match="not where quotes are made"):
            tdx.quotes(wrong)


def test_sev_by_the_letter(image: Image) -> None:
    command = sev.Launcher(Settings()).command(facts(image), Port(9, 0, 11, 12, 13))
    guest = "sev-guest,id=guard,cbitpos=51,reduced-phys-bits=1,policy=0x7,kernel-hashes=on"
    assert command == [
        *HEAD, "-cpu", "EPYC-v4", "-smp", "1", "-m", "512", "-serial", "stdio", *SERIAL,
        "-object", f"{guest},dh-cert-file=/dev/fd/12,session-file=/dev/fd/13",
        "-machine", "q35,confidential-guest-support=guard",
        "-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/fw/OVMF.fd", *parts(image),
        "-S", "-chardev", "socket,id=monitor,fd=11", "-mon", "chardev=monitor,mode=control",
    ]  # fmt: skip


@pytest.mark.parametrize("policy", [0x3, 0x6, 0x47, 1 << 32 | 7])
def test_sev_without_es_or_with_debugging_is_refused(image: Image, policy: int) -> None:
    with pytest.raises(UsageError, match="not for SEV-ES without debugging"):
        sev.Launcher(Settings(guard=Guard(policy=policy))).guest(facts(image), Port())


def test_sev_wants_a_tenant_and_the_platforms_certificates(tmp_path: Path) -> None:
    forged = sev_forge.make({})
    evidence = tee_sev.parse(forged.evidence)
    whole = b"".join(getattr(evidence, name).raw for name in ("pdh", "pek", "oca", "cek", "ask", "ark"))
    place = tmp_path / "chain"
    with pytest.raises(UsageError, match="proves nothing") as unattended:
        asyncio.run(sev.Launcher().launch())
    assert "deploy --platform sev" in unattended.value.hint
    with pytest.raises(UsageError, match="session has a certificate of 2084 bytes"):
        asyncio.run(sev.Launcher().stand(Session(bytes(2084), bytes(127))))
    with pytest.raises(UsageError, match="certificates of this platform") as missing:
        sev.Launcher()._chain()
    assert "sevctl export --full" in missing.value.hint
    launcher = sev.Launcher(Settings(guard=Guard(chain=str(place))))
    for data, lacking in ((None, "ark, ask, cek, pdh, pek"), (whole[:-1], "ark"), (whole[2084:], "pdh")):
        if data is not None:
            place.write_bytes(data)
        with pytest.raises(UsageError, match=f"no {lacking}"):
            launcher._chain()
    place.write_bytes(whole)
    assert launcher._chain() == whole


@pytest.mark.parametrize("name", ["vm", "snp", "tdx", "sev", "nitro", "sgx"])
def test_what_a_platform_does_not_know_is_refused_not_dropped(name: str) -> None:
    foreign = Guard(host_data="00" * 32) if name != "snp" else Guard(mrowner="00" * 48)
    with pytest.raises(UsageError, match=f"{name} has no --"):
        load(name, Settings(guard=foreign))
    if name not in ("vm", "nitro", "sgx"):
        with pytest.raises(UsageError, match="cannot be emulated"):
            load(name, Settings(accelerator="tcg"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(guard=Guard(host_data="ab")), "wants 32 bytes"),
        (Settings(guard=Guard(host_data="zz" * 32)), "wants 32 bytes"),
        (Settings(guard=Guard(cpu="EPYC-v4,+x")), "is no processor model"),
        (Settings(channel="tcp"), "serial or vsock"),
    ],
)
def test_settings_that_cannot_be(settings: Settings, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        snp.Launcher(settings)


def test_the_processor_answers_as_the_kernel_says_it_does() -> None:
    found = cpuid.cpuid(0)
    if found is None:
        pytest.skip("no x86-64")
    name = b"".join(word.to_bytes(4, "little") for word in (found.ebx, found.edx, found.ecx)).decode()
    assert name in Path("/proc/cpuinfo").read_text()
    one = cpuid.cpuid(1)
    assert one is not None
    family = (one.eax >> 8 & 15) + (one.eax >> 20 & 255 if one.eax >> 8 & 15 == 15 else 0)
    assert f"cpu family\t: {family}\n" in Path("/proc/cpuinfo").read_text()


def processor(leaf: int) -> Registers:
    """A Milan's, as far as memory encryption goes."""
    return {
        cpuid.EXTENDED: Registers(0x80000023, 0, 0, 0),
        cpuid.MEMORY_ENCRYPTION: Registers(0x0101FD3F, 0x00004173 & ~0x3F | 51, 0x1FD, 1),
    }[leaf]


def test_the_c_bit_is_read_from_its_leaf() -> None:
    assert cpuid.encryption(Registers(0, 0x00004173, 0, 0)) == Encryption(51, 5)
    assert Machine(leaf=processor).encryption() == Encryption(51, 5)
    assert Machine(leaf=lambda _: Registers(0x80000008, 0, 0, 0)).encryption() is None
    without = {cpuid.EXTENDED: Registers(0x80000023, 0, 0, 0), cpuid.MEMORY_ENCRYPTION: Registers(1, 51, 0, 0)}
    assert Machine(leaf=without.__getitem__).encryption() is None  # SME alone
    assert Machine(leaf=lambda _: None).encryption() is None


def test_the_firmware_tells_its_version_in_twelve_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """struct sev_issue_cmd and struct sev_user_data_status as Linux packs them."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/sev").touch()
    asked = []

    def ioctl(_: int, request: int, argument: bytearray, change: bool) -> int:
        command, address, error = struct.unpack("<IQI", argument)
        asked.append((request, command, error, change))
        ctypes.memmove(address, bytes((1, 55, 1)) + b"\xff" * 4 + bytes((21,)) + b"\xee" * 4, 12)
        return 0

    monkeypatch.setattr(machine.fcntl, "ioctl", ioctl)
    assert machine.platform_status(tmp_path / "dev/sev") == (1, 55, 21)
    assert asked == [(0xC0105300, 1, 0, True)]
    need = Machine(tmp_path).sev_firmware((1, 51))
    assert (need.there, need.seen) == (True, "API 1.55, build 21")
    monkeypatch.setattr(machine.fcntl, "ioctl", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    assert Machine(tmp_path).sev_firmware((1, 51)).seen == "/dev/sev: input/output error"


def root(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


MILAN = {
    "proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sev sev_es sev_snp\n",
    "sys/module/kvm_amd/parameters/sev": "Y",
    "sys/module/kvm_amd/parameters/sev_es": "Y",
    "sys/module/kvm_amd/parameters/sev_snp": "Y",
    "dev/sev": "",
    "dev/kvm": "",
}


@pytest.fixture
def milan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that has all that SNP needs: files and a processor are made up, and what the devices answer."""
    monkeypatch.setattr(machine, "platform_status", lambda _: (1, 55, 21))
    monkeypatch.setattr(machine.fcntl, "ioctl", lambda *_: 0b11101)
    monkeypatch.setattr(qemu, "program", lambda: Program("/usr/bin/qemu-system-x86_64", (10, 1)))
    monkeypatch.setattr(qemu, "objects", lambda _: {"sev-snp-guest", "sev-guest", "tdx-guest", "igvm-cfg"})
    return Machine(root(tmp_path / "root", MILAN), processor)


def firmware_file(folder: Path, **more: object) -> str:
    place = folder / "OVMF.fd"
    place.write_bytes(firmware.make(**more))  # type: ignore[arg-type]
    return str(place)


def missing(needs: tuple[Need, ...]) -> dict[str, str]:
    assert all(need.there is not bool(need.remedy) for need in needs), "a remedy for what is missing, and only then"
    return {need.name: need.seen for need in needs if not need.there}


def test_a_machine_with_all_of_it_lacks_nothing(milan: Machine, tmp_path: Path) -> None:
    chosen = Settings(firmware=firmware_file(tmp_path))
    assert missing(snp.Launcher(chosen, milan).needs()) == {}
    assert missing(sev.Launcher(chosen, milan).needs()) == {}
    assert missing(snp.Launcher(Settings(firmware=str(sealed(tmp_path))), milan).needs()) == {}


def test_vsock_wants_the_hosts_end_of_it(milan: Machine, tmp_path: Path) -> None:
    chosen = Settings(firmware=firmware_file(tmp_path), channel="vsock")
    assert missing(snp.Launcher(chosen, milan).needs()) == {"/dev/vhost-vsock": "absent"}
    (tmp_path / "root/dev/vhost-vsock").touch()
    assert missing(snp.Launcher(chosen, milan).needs()) == {}


def sealed(folder: Path) -> Path:
    place = folder / "keep.igvm"
    place.write_bytes(b"IGVM" + bytes(20))
    return place


@pytest.mark.parametrize(
    ("file", "text", "name", "seen"),
    [
        ("proc/cpuinfo", "flags\t: fpu sev\n", "cpu flag sev_snp", "absent"),
        ("sys/module/kvm_amd/parameters/sev_snp", "N", "kvm_amd.sev_snp", "N"),
        ("sys/module/kvm_amd/parameters/sev_snp", None, "kvm_amd.sev_snp", "not loaded"),
        ("dev/sev", None, "/dev/sev", "absent"),
        ("dev/kvm", None, "/dev/kvm", "absent"),
    ],
)
def test_what_a_machine_lacks_is_named_and_refused(
    milan: Machine, tmp_path: Path, file: str, text: str | None, name: str, seen: str
) -> None:
    place = tmp_path / "root" / file
    if text is None:
        place.unlink()
    else:
        place.write_text(text)
    launcher = snp.Launcher(Settings(firmware=firmware_file(tmp_path)), milan)
    assert missing(launcher.needs())[name] == seen
    with pytest.raises(KeepFailed, match="snp cannot be launched here") as refused:
        launcher.check()
    assert refused.value.where == name
    assert refused.value.hint


def test_old_firmware_old_qemu_other_kernel_and_unmeasured_firmware(
    milan: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "platform_status", lambda _: (1, 49, 3))
    monkeypatch.setattr(machine.fcntl, "ioctl", lambda *_: 0b1)
    monkeypatch.setattr(qemu, "program", lambda: Program("/usr/bin/qemu-system-x86_64", (8, 2)))
    launcher = snp.Launcher(Settings(firmware=firmware_file(tmp_path, hashes=None)), milan)
    found = missing(launcher.needs())
    assert found["SEV firmware 1.51"] == "API 1.49, build 3"
    assert found["KVM guests of type snp"] == "types 0x1"
    assert found["QEMU 9.1 with sev-snp-guest"] == "version 8.2"
    assert "no table for the hashes" in found["firmware"]
    monkeypatch.setattr(qemu, "program", lambda: Program("/usr/bin/qemu-system-x86_64", (11, 1)))
    monkeypatch.setattr(qemu, "objects", lambda _: {"sev-snp-guest"})
    igvm = snp.Launcher(Settings(firmware=str(sealed(tmp_path))), milan)
    assert missing(igvm.needs())["QEMU 10.1 with igvm-cfg"] == "version 11.1 was built without it"
    domain = tdx.Launcher(Settings(firmware=firmware_file(tmp_path)), milan)
    assert "no TDX metadata" in missing(domain.needs())["firmware"]


def test_a_device_nobody_may_open_is_a_matter_of_permission(milan: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "access", lambda place, _: not str(place).endswith("dev/sev"))
    need = next(item for item in snp.Launcher(Settings(), milan).needs() if item.name == "/dev/sev")
    assert need.seen == "permission denied"
    assert need.remedy == machine.permission(milan._root / "dev/sev", "/dev/sev")


@pytest.mark.parametrize(
    ("group", "mode", "remedy"),
    [
        (106, 0o20660, "let this user open /dev/kvm: usermod -aG kvm USER, and log in anew"),
        (107, 0o20660, "let this user open /dev/kvm: usermod -aG 107 USER, and log in anew"),
        (0, 0o20660, "run as root, or let a udev rule give /dev/kvm (mode crw-rw----) to a group of yours"),
        (106, 0o20600, "run as root, or let a udev rule give /dev/kvm (mode crw-------) to a group of yours"),
    ],
)
def test_permission_is_mended_by_the_devices_group_where_it_has_one(
    group: int, mode: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(number: int) -> SimpleNamespace:
        if number != 106:
            raise KeyError(number)
        return SimpleNamespace(gr_name="kvm")

    place = SimpleNamespace(stat=lambda: SimpleNamespace(st_gid=group, st_mode=mode))
    monkeypatch.setattr(machine.grp, "getgrgid", known)
    assert machine.permission(cast("Path", place), "/dev/kvm") == remedy


def test_a_qemu_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("qemu", 1)

    monkeypatch.setattr(qemu.shutil, "which", lambda _: "/usr/bin/qemu-system-x86_64")
    monkeypatch.setattr(qemu.subprocess, "run", hangs)
    need = confidential.qemu_of((9, 1), "sev-snp-guest")
    assert not need.there
    assert "does not answer" in need.seen


def test_kvm_that_hangs_a_guest_is_refused(
    milan: Machine, tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confidential, "load", lambda _: image)
    monkeypatch.setattr(kvm, "trouble", lambda *_: "a guest hangs")
    launcher = snp.Launcher(Settings(firmware=firmware_file(tmp_path)), milan)
    with pytest.raises(KeepFailed, match="KVM runs no guest here: a guest hangs"):
        asyncio.run(launcher.launch())
    monkeypatch.setattr(kvm, "trouble", lambda *_: "")
    launcher.check()
    with pytest.raises(KeepFailed, match="no debug build"):
        asyncio.run(launcher.launch(debug=True))


def test_every_platform_is_surveyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bare = Machine(root(tmp_path / "root", {"proc/cpuinfo": "flags : fpu\n"}), lambda _: None)
    found = {item.name: item for item in survey(bare)}
    assert set(found) == set(PLATFORMS)
    assert found["nil"].ready
    for name in ("snp", "sev", "tdx", "sgx", "nitro"):
        assert not found[name].ready
        lacking = missing(found[name].needs)
        assert lacking["keep image"] == "no image was built yet"
        assert len(lacking) >= 3
    assert "not tried" in missing(found["snp"].needs)["KVM runs a guest"]


def test_sgx_wants_an_image_with_the_keeps_entry_and_somebody_to_sign_it(
    image: Image, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = {"proc/cpuinfo": "flags : sgx sgx_lc\n", "dev/sgx_enclave": "", "dev/sgx_provision": "", sgx.QUOTES: ""}
    monkeypatch.setattr(sgx, "load", lambda _: image)
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    launcher = sgx.Launcher(Settings(memory=700), Machine(root(tmp_path / "root", files)))
    assert launcher.command() == ["/usr/bin/gramine-sgx", "keep"]
    assert 'sgx.enclave_size = "1024M"' in launcher.manifest()
    assert missing(launcher.needs()) == {"the keep's entry for one process": "not in this image"}
    with pytest.raises(KeepFailed, match="entry for one process"):
        asyncio.run(launcher.launch())
    monkeypatch.setattr(machine.shutil, "which", lambda name: None if "sign" in name else f"/usr/bin/{name}")
    assert "gramine-sgx-sign" in missing(launcher.needs())
    for name in ("keep.manifest.sgx", "keep.sig"):  # signed elsewhere: no tool is wanted here
        (image.folder / name).write_bytes(b"")
    assert "gramine-sgx-sign" not in missing(launcher.needs())


@pytest.mark.parametrize(("name", "item"), [("snp", "sev-snp-guest"), ("tdx", "tdx-guest"), ("sev", "sev-guest")])
def test_qemu_itself_understands_every_option(name: str, item: str, image: Image, tmp_path: Path) -> None:
    """Without the silicon it refuses the machine; it must not be for a word of the command line."""
    if shutil.which(qemu.PROGRAM) is None or item not in qemu.objects(found := qemu.program()):
        pytest.skip(f"no QEMU with {item} is installed")
    chosen = {"snp": Guard(host_data="ab" * 32), "tdx": Guard(mrconfigid="ab" * 48), "sev": Guard()}[name]
    launcher = load(name, Settings(guard=chosen))
    here, monitor = socket.socketpair(), socket.socketpair()
    blobs = [sev._handle(bytes(size)) for size in (2084, 128)]
    port = Port(here[1].fileno(), 0, monitor[1].fileno(), *blobs)
    (tmp_path / "OVMF.fd").write_bytes(firmware.make())
    command = launcher.command(facts(image, program=found, firmware=tmp_path / "OVMF.fd"), port)  # type: ignore[attr-defined]
    given = (here[1].fileno(), monitor[1].fileno(), *blobs)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, pass_fds=given)
    for end in (*here, *monitor):
        end.close()
    assert done.returncode != 0
    assert re.search("kvm|KVM|SEV", done.stderr), done.stderr
    assert not re.search("[Pp]arameter|[Pp]roperty|[Ii]nvalid|option", done.stderr), done.stderr


def test_an_emulated_processor_has_nothing_that_emulation_gets_wrong_or_makes_slow() -> None:
    slow = "max,-erms,-fsrm,-avx,-avx2,-la57"
    assert qemu.processor(Program("qemu", (10, 0)), "tcg") == slow
    assert qemu.processor(Program("qemu", (7, 2)), "tcg") == f"{slow},-cx16"
    assert qemu.processor(Program("qemu", (7, 2)), "kvm") == "host"
