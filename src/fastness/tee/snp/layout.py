"""Layout of an SNP attestation report (AMD 56860, SEV-SNP Firmware ABI 1.58, table 23) and what lies around it.

All integers are little endian. A report is 1184 bytes; the first 0x2A0 are signed. Versions 2 to 5 are known: 3 adds
the processor (0x188), 5 the mitigation vectors (0x1F8).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

REPORT_SIZE = 0x4A0
SIGNED_SIZE = 0x2A0
VERSIONS = range(2, 6)
ECDSA_P384_SHA384 = 1
VCEK, VLEK, NO_KEY = 0, 1, 7
HOST_VMPL = 0xFFFFFFFF

REPORT = struct.Struct("<IIQ16s16sII8sQI4x64s48s32s48s48s32s32s8s3B21x64s8s3Bx3Bx8sQQ152x")
"""The signed part; ``x`` are the bytes that must be zero (:data:`RESERVED`)."""

RESERVED = ((0x04C, 4), (0x18B, 21), (0x1EB, 1), (0x1EF, 1), (0x208, 152))
RESERVED_BEFORE = ((3, 0x188, 3), (5, 0x1F8, 16))
"""(version that introduced it, offset, size): reserved in reports before that version."""

# field: offset, size, meaning
FIELDS: dict[str, tuple[int, int, str]] = {
    "version": (0x000, 4, "version of the report"),
    "guest_svn": (0x004, 4, "security version of the guest, from the ID block"),
    "policy": (0x008, 8, "guest policy"),
    "family_id": (0x010, 16, "family of the guest, from the ID block"),
    "image_id": (0x020, 16, "image of the guest, from the ID block"),
    "vmpl": (0x030, 4, "privilege level that asked for the report"),
    "signature_algo": (0x034, 4, "1: ECDSA P-384 with SHA-384"),
    "current_tcb": (0x038, 8, "TCB now running"),
    "platform_info": (0x040, 8, "properties of the platform"),
    "key_info": (0x048, 4, "author key, masked chip id, signing key"),
    "report_data": (0x050, 64, "chosen by the guest"),
    "measurement": (0x090, 48, "launch digest"),
    "host_data": (0x0C0, 32, "chosen by the host at launch"),
    "id_key_digest": (0x0E0, 48, "SHA-384 of the key that signed the ID block"),
    "author_key_digest": (0x110, 48, "SHA-384 of the key that certified the ID key"),
    "report_id": (0x140, 32, "this guest"),
    "report_id_ma": (0x160, 32, "its migration agent; all ones for none"),
    "reported_tcb": (0x180, 8, "TCB the signing key is derived from"),
    "cpuid": (0x188, 3, "family, model, stepping"),
    "chip_id": (0x1A0, 64, "this chip"),
    "committed_tcb": (0x1E0, 8, "TCB that cannot be rolled back"),
    "current_version": (0x1E8, 3, "firmware now running: build, minor, major"),
    "committed_version": (0x1EC, 3, "committed firmware: build, minor, major"),
    "launch_tcb": (0x1F0, 8, "TCB at launch or import"),
    "launch_mit_vector": (0x1F8, 8, "mitigations at launch"),
    "current_mit_vector": (0x200, 8, "mitigations now"),
    "signature": (0x2A0, 512, "r and s, 72 bytes each, little endian"),
}

POLICY_BITS = {
    "smt": 16, "migrate_ma": 18, "debug": 19, "single_socket": 20, "cxl": 21, "mem_aes_256_xts": 22, "rapl_dis": 23,
    "ciphertext_hiding_dram": 24, "page_swap_disable": 25,
}  # fmt: skip
POLICY_ONE = 1 << 17
POLICY_RESERVED = ~((1 << 26) - 1)
PLATFORM_BITS = {
    "smt": 0, "tsme": 1, "ecc": 2, "rapl_dis": 3, "ciphertext_hiding_dram": 4, "alias_check_complete": 5, "tio": 7,
}  # fmt: skip
PLATFORM_KNOWN = 0b1011_1111
"""Other bits are told, not refused: real Turin firmware sets bit 6, which revision 1.58 still reserves."""

KEY_INFO_RESERVED = ~0b1_1111


class Tcb(NamedTuple):
    """A TCB_VERSION by component; ``fmc`` is None before Turin. Compared component by component, never as a number."""

    boot_loader: int
    tee: int
    snp: int
    microcode: int
    fmc: int | None = None

    def __le__(self, other: tuple[int | None, ...]) -> bool:
        """Whether no component is newer than in ``other``."""
        return all((one or 0) <= (two or 0) for one, two in zip(self, other, strict=True))

    def claims(self) -> dict[str, int]:
        """The components that there are."""
        return {name: value for name, value in self._asdict().items() if value is not None}


OLD_TCB = {"boot_loader": 0, "tee": 1, "snp": 6, "microcode": 7}
NEW_TCB = {"fmc": 0, "boot_loader": 1, "tee": 2, "snp": 3, "microcode": 7}
"""Byte of each component: Milan and Genoa; Turin and later (AMD 56860 table 3)."""


class Generation(NamedTuple):
    """A generation of EPYC: product line that vouches for it, CPUID ranges, size of the hardware id, TCB layout."""

    name: str
    line: str
    family: int
    models: tuple[tuple[int, int], ...]
    product: str
    hwid_size: int
    tcb: dict[str, int]


GENERATIONS = (
    Generation("milan", "milan", 0x19, ((0x00, 0x0F),), "EPYC 7003", 64, OLD_TCB),
    Generation("genoa", "genoa", 0x19, ((0x10, 0x1F),), "EPYC 9004", 64, OLD_TCB),
    Generation("bergamo", "genoa", 0x19, ((0xA0, 0xAF),), "EPYC 97x4 or 8004", 64, OLD_TCB),
    Generation("turin", "turin", 0x1A, ((0x00, 0x11),), "EPYC 9005", 8, NEW_TCB),
    Generation(
        "venice", "venice", 0x1A, ((0x50, 0x57), (0x90, 0x9F), (0xA0, 0xAF), (0xC0, 0xC7)), "EPYC, Zen 6", 8, NEW_TCB
    ),
)
"""Sources: AMD 55922 and 57019 (CPUID), KDS specification 57230. Bergamo and Siena share models A0h to AFh: a report
cannot tell them apart, so both are called bergamo. No root for Venice is published: its owner names one with the line
``venice``."""

VOUCHERS = {"bergamo": "genoa", "siena": "genoa"}
"""Product names whose leaves are issued by another line's ASK."""

LINES = {"milan": "Milan", "genoa": "Genoa", "turin": "Turin", "venice": "Venice"}


def generation_of(family: int, model: int) -> Generation | None:
    """The generation of a CPUID family and model (extended parts added in)."""
    for item in GENERATIONS:
        if item.family == family and any(low <= model <= high for low, high in item.models):
            return item
    return None


def generation_of_line(line: str) -> Generation | None:
    """The first generation that ``line`` vouches for: layout of TCB and hardware id."""
    return next((item for item in GENERATIONS if item.line == line), None)


def tcb(raw: bytes, places: dict[str, int]) -> Tcb:
    """The components of 8 bytes of TCB_VERSION."""
    return Tcb(**{name: raw[index] for name, index in places.items()})


# Extensions of VCEK and VLEK certificates (AMD 57230 table 9)
OID = "1.3.6.1.4.1.3704.1."
OID_PRODUCT, OID_HWID, OID_CSP = f"{OID}2", f"{OID}4", f"{OID}5"
OID_SPL = {
    "boot_loader": f"{OID}3.1", "tee": f"{OID}3.2", "snp": f"{OID}3.3", "microcode": f"{OID}3.8", "fmc": f"{OID}3.9",
}  # fmt: skip

# Certificate table of an extended report (GHCB specification 2.0, section 4.1.8.1)
ENTRY_SIZE = 24
MAX_ENTRIES = 16
TABLE = {
    "63da758de6644564adc5f4b93be8accd": "vcek",
    "a8074bc2a25a483eaae639c045a0b8a1": "vlek",
    "4ab7b379bbac4fe4a02f05aef327c782": "ask",
    "c0b406a4a803495297433fb6014cd0ae": "ark",
    "92f81bc358114d3d97ffd19f88dc67ea": "crl",
    "ecae0c0f950243b1afa20ae2e0d565b6": "firmware-manifest",
}
