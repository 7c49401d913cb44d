"""What this machine offers to keeps: for each platform what is there, what is missing, and what to do about it.

Facts are read from the kernel; nothing is started or changed. A platform is ``ready`` when all it
needs is there *and* this version of Fastness can launch it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from fastness.host.launch import PLATFORMS
from fastness.sandbox.kernel import Feature
from fastness.sandbox.probe import probe


@dataclass(frozen=True, slots=True)
class Need:
    """One thing a platform needs: whether it is there, what was seen, and what would mend it."""

    name: str
    there: bool
    seen: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform on this machine."""

    name: str
    text: str
    protects: bool
    launcher: bool
    needs: tuple[Need, ...]
    features: tuple[Feature, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether a keep could be launched on it now."""
        return self.launcher and all(need.there for need in self.needs)


class Machine:
    """Reads facts below ``root``, so that a test can give another one."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def text(self, path: str) -> str:
        """The content of a small kernel file, or nothing."""
        try:
            return (self._root / path).read_text("utf-8", "replace").strip()
        except OSError:
            return ""

    def flags(self) -> frozenset[str]:
        """CPU flags as the kernel lists them."""
        for line in self.text("proc/cpuinfo").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
        return frozenset()

    def flag(self, name: str, what: str) -> Need:
        """A CPU flag."""
        there = name in self.flags()
        return Need(
            f"cpu flag {name}", there, what if there else "absent", "" if there else "use a machine that has it"
        )

    def parameter(self, module: str, name: str) -> Need:
        """A boolean module parameter that must be on."""
        value = self.text(f"sys/module/{module}/parameters/{name}")
        there = value in ("Y", "1")
        remedy = "" if there else f"load {module} with {name}=1, and switch it on in the firmware's settings"
        return Need(f"{module}.{name}", there, value or "not loaded", remedy)

    def device(self, path: str, remedy: str) -> Need:
        """A device that this user may open for reading and writing."""
        place = self._root / path.lstrip("/")
        if not place.exists():
            return Need(path, False, "absent", remedy)
        allowed = os.access(place, os.R_OK | os.W_OK)
        return Need(
            path, allowed, "there" if allowed else "permission denied", "" if allowed else f"allow this user: {path}"
        )

    def program(self, name: str, package: str) -> Need:
        """A program on the search path."""
        found = shutil.which(name)
        return Need(name, found is not None, found or "absent", "" if found else f"apt-get install -y {package}")


def survey(machine: Machine | None = None) -> tuple[Platform, ...]:
    """Every platform, on this machine."""
    here = machine or Machine()
    kvm = here.device("/dev/kvm", "switch on virtualisation, load kvm, and let this user open /dev/kvm")
    qemu = here.program("qemu-system-x86_64", "qemu-system-x86")
    swtpm = here.program("swtpm", "swtpm")
    features = probe()
    rows = (
        ("nil", "a sandboxed process; SIMULATED evidence", False, (), features),
        ("vm", "the measured image in QEMU with a vTPM of this host", False, (qemu, swtpm), ()),
        ("snp", "AMD SEV-SNP confidential VM", True,
         (here.flag("sev_snp", "SEV-SNP"), here.parameter("kvm_amd", "sev_snp"), _sev(here), kvm, qemu), ()),
        ("sev", "AMD SEV or SEV-ES VM", True,
         (here.flag("sev", "SEV"), here.parameter("kvm_amd", "sev"), _sev(here), kvm, qemu), ()),
        ("tdx", "Intel TDX trust domain", True,
         (here.flag("tdx_host_platform", "TDX"), here.parameter("kvm_intel", "tdx"), kvm, qemu), ()),
        ("sgx", "Intel SGX enclave under Gramine", True,
         (here.flag("sgx", "SGX"), here.device("/dev/sgx_enclave", "switch SGX on in the firmware's settings"),
          here.program("gramine-sgx", "gramine (from its own repository)")), ()),
        ("nitro", "AWS Nitro enclave", True,
         (here.device("/dev/nitro_enclaves", "run on an EC2 instance with enclaves switched on"),
          here.program("nitro-cli", "aws-nitro-enclaves-cli")), ()),
    )  # fmt: skip
    return tuple(
        Platform(name, text, protects, name in PLATFORMS, tuple(needs), tuple(found))
        for name, text, protects, needs, found in rows
    )


def _sev(here: Machine) -> Need:
    return here.device("/dev/sev", "load the ccp driver, and let this user open /dev/sev")
