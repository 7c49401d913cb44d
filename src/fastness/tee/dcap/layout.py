"""Layout of DCAP quotes, all little endian (Intel SGX ECDSA QuoteGenReference API, appendix A; TDX DCAP API, A.3).

======= ============================================================================================
offset  contents
======= ============================================================================================
0       header, 48 bytes: version u16 (3, 4, 5), attestation key type u16, TEE type u32 (reserved in
        version 3), QE SVN u16, PCE SVN u16, QE vendor id 16, user data 20
48      version 5 only: body type u16, body size u32
48, 54  body: SGX report 384, TD report 1.0 584, 1.5 648, 1.5 extended 885 bytes
then    size u32 of the signature data: signature 64 (r ‖ s, big endian), attestation key 64 (x ‖ y);
        from version 4 on: certification data type u16 = 6 and size u32 around the rest;
        QE report 384, its signature 64, authentication data (size u16), certification data (type u16, size u32)
======= ============================================================================================
"""

from __future__ import annotations

from struct import Struct

HEADER = Struct("<HHIHH16s20s")
HEADER_SIZE = HEADER.size
BODY_HEAD = Struct("<HI")
CERTIFICATION = Struct("<HI")
SIGNED_BY = Struct("<64s64s")
QE_PART = Struct("<384s64sH")

ECDSA_P256 = 2
"""Attestation key type ECDSA-256-with-P-256; 3 (P-384) is reserved."""
TEE_SGX, TEE_TDX = 0x00, 0x81
INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

BODY_SGX, BODY_TD10, BODY_TD15, BODY_TD15_EX = 1, 2, 3, 4
BODY_SIZES = {BODY_SGX: 384, BODY_TD10: 584, BODY_TD15: 648, BODY_TD15_EX: 885}

SIGNATURE_SIZE = 64
KEY_SIZE = 64
REPORT_SIZE = 384

PPID_PLAIN, PPID_RSA2048, PPID_RSA3072, PCK_LEAF, PCK_CHAIN, QE_REPORT = range(1, 7)
"""Types of certification data (appendix A.4.11): three forms of PPID, a PCK leaf, a PEM chain, nested QE report."""
PPID_SIZES = {PPID_PLAIN: 16, PPID_RSA2048: 256, PPID_RSA3072: 384}
PPID_TAIL = 16 + 2 + 2
"""After the PPID: CPUSVN 16, PCESVN 2, PCEID 2."""

MAX_CERTIFICATION = 32 * 1024
MAX_AUTHENTICATION = 4096

# SGX report body (Intel SDM volume 3D, table 38-21)
REPORT = Struct("<16sI12s16s16s32s32s32s32s64sHHH42s16s64s")

SGX_INIT, SGX_DEBUG, SGX_MODE64 = 1 << 0, 1 << 1, 1 << 2
SGX_FLAGS = {
    "init": 0, "debug": 1, "mode64bit": 2, "provision_key": 4, "einittoken_key": 5, "cet": 6, "kss": 7,
    "aex_notify": 10,
}  # fmt: skip
XFRM_BITS = {
    "x87": 0, "sse": 1, "avx": 2, "bndregs": 3, "bndcsr": 4, "opmask": 5, "zmm_hi256": 6, "hi16_zmm": 7, "pt": 8,
    "pkru": 9, "cet_u": 11, "cet_s": 12, "uintr": 14, "lbr": 15, "amx_tilecfg": 17, "amx_tiledata": 18,
}  # fmt: skip
"""Names of XFRM and XFAM bits (Intel SDM volume 1, section 13.1: state components of XCR0 and IA32_XSS)."""


def bits(value: int, names: dict[str, int]) -> dict[str, bool | str]:
    """A word of flags by name; ``unknown``, where there are any, the bits without one in hexadecimal."""
    found: dict[str, bool | str] = {name: bool(value >> position & 1) for name, position in names.items()}
    rest = value & ~sum(1 << position for position in names.values())
    return found | {"unknown": f"{rest:#x}"} if rest else found
