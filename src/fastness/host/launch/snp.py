"""Platform ``snp``: the image in an AMD SEV-SNP machine.

Two ways, told by the firmware file: an OVMF with a page for hashes (edk2's AmdSevX64), where QEMU puts hashes of
kernel, initramfs and command line into the measured page and the firmware holds what it loads to them; or an IGVM file
that holds the image itself. Sources: QEMU ``docs/system/i386/amd-memory-encryption.rst``, ``docs/system/igvm.rst``,
``qapi/qom.json`` (SevSnpGuestProperties; 9.1 and newer, IGVM 10.1 and newer).
"""

from __future__ import annotations

import base64
from pathlib import Path

from fastness.errors import KeepFailed, MalformedEvidence, UsageError
from fastness.host.launch import confidential, guard, qemu
from fastness.host.launch.confidential import Confidential, Facts, Port
from fastness.host.machine import Need
from fastness.tee.snp import identity

POLICY = 0x30000
"""SMT may be on, bit 17 as the firmware wants it; no debugging, no migration (AMD 56860, table 9)."""

POLICY_DEBUG = 1 << 19
CPU = "EPYC-v4"
FIRMWARE_API = (1, 51)
"""Least firmware that Linux starts SNP with (drivers/crypto/ccp/sev-dev.c, SNP_MIN_API)."""


class Launcher(Confidential):
    """Starts ``snp`` keeps."""

    name = "snp"
    takes = frozenset({"cpu", "policy", "host_data", "id_block", "id_auth"})

    def needs(self) -> tuple[Need, ...]:
        """Processor, kernel, firmware of both kinds, QEMU."""
        here = self._machine
        version, item = ((10, 1), "igvm-cfg") if self._igvm() else ((9, 1), "sev-snp-guest")
        return (
            here.flag("sev_snp", "SEV-SNP"),
            here.c_bit(),
            here.parameter("kvm_amd", "sev_snp"),
            here.sev_firmware(FIRMWARE_API),
            here.device("/dev/kvm", "switch on virtualisation, load kvm_amd, and let this user open /dev/kvm"),
            here.guests("snp"),
            confidential.qemu_of(version, item),
            self.firmware_need(),
            *self.reach(),
        )

    def _igvm(self) -> bool:
        return bool(self._settings.firmware) and confidential.is_igvm(Path(self._settings.firmware))

    def firmware(self) -> Path:
        """An IGVM file that was wished for, or an OVMF with a page for hashes."""
        return Path(self._settings.firmware) if self._igvm() else super().firmware()

    def command(self, facts: Facts, port: Port) -> list[str]:
        """QEMU's command line."""
        settings, image = self._settings, facts.image
        if settings.boot != "direct":
            raise UsageError("snp boots the image's parts, or an IGVM file", where="--boot", hint="--boot direct")
        if facts.is_igvm and settings.vcpus != 1:
            raise UsageError("an IGVM file is measured for one processor", where="--vcpus", hint="--vcpus 1")
        cpu = settings.guard.cpu or CPU
        command = qemu.common(facts.program, settings, "kvm", port.handle, cpu=cpu, cid=port.cid)
        command += ["-object", f"memory-backend-memfd,id=ram,size={settings.memory}M,share=on"]
        command += ["-object", self.guest(facts)]
        machine = "q35,confidential-guest-support=guard,memory-backend=ram"
        if facts.is_igvm:
            return [*command, "-machine", f"{machine},igvm-cfg=image",
                    "-object", f"igvm-cfg,id=image,file={qemu.value(facts.firmware)}"]  # fmt: skip
        return [
            *command, "-machine", machine, "-bios", str(facts.firmware),
            "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.cmdline,
        ]  # fmt: skip

    def guest(self, facts: Facts) -> str:
        """The object ``sev-snp-guest``."""
        chosen = self._settings.guard
        if facts.encryption is None:
            raise KeepFailed("the processor has no memory encryption", where="CPUID 0x8000001F")
        policy = POLICY if chosen.policy is None else chosen.policy
        if policy & POLICY_DEBUG and not facts.image.debug:
            raise UsageError(f"policy 0x{policy:x} lets the host read the guest", where="--policy", hint="clear bit 19")
        words = [
            "sev-snp-guest", "id=guard", f"cbitpos={facts.encryption.c_bit}",
            f"reduced-phys-bits={confidential.REDUCED}", f"policy=0x{policy:x}",
            f"kernel-hashes={'off' if facts.is_igvm else 'on'}",
        ]  # fmt: skip
        if chosen.host_data:
            words.append(f"host-data={guard.encoded(chosen.host_data)}")
        return ",".join(words + self._identity())

    def _identity(self) -> list[str]:
        """The owner's block, and whether an author vouches for the owner's key."""
        chosen = self._settings.guard
        if bool(chosen.id_block) is not bool(chosen.id_auth):
            raise UsageError("an ID block and its authentication go together", hint="--id-block FILE --id-auth FILE")
        if not chosen.id_block:
            return []
        block = guard.content(chosen.id_block, (identity.BLOCK_SIZE,), "--id-block")
        proof = guard.content(chosen.id_auth, (identity.AUTHENTICATION_SIZE,), "--id-auth")
        try:
            author = identity.authentication(proof).author
            wanted = identity.block(block).policy
        except MalformedEvidence as error:
            raise UsageError(error.what, where=chosen.id_auth, hint="make it again: docs/amd-launch.md") from None
        policy = POLICY if chosen.policy is None else chosen.policy
        if wanted != policy:  # the secure processor would refuse, in fewer words
            raise UsageError(
                f"the ID block is for policy 0x{wanted:x}, not 0x{policy:x}", where="--policy", hint="give the same"
            )
        named = ["author-key-enabled=on"] if author is not None else []
        return [f"id-block={base64.b64encode(block).decode()}", f"id-auth={base64.b64encode(proof).decode()}", *named]
