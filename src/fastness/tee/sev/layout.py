"""Layout of AMD SEV certificates and reports (AMD 55766, SEV API 0.24, appendices B and C). All integers little endian.

AMD certificate (ARK, ASK): version, key id, certifying id, usage, reserved, sizes; exponent, modulus, signature, each
of the size of the modulus. SEV certificate (OCA, CEK, PEK, PDH): 2084 bytes, two signature slots, the first 0x414
signed.
"""

from __future__ import annotations

AMD_HEAD = 0x40
AMD_SIZES = {832: 2048, 1600: 4096}
"""Bytes of an AMD certificate → bits of its key: Naples; Rome and later."""

ARK_USAGE, ASK_USAGE = 0x00, 0x13
SEV_SIZE, SEV_SIGNED = 0x824, 0x414
USAGES = {0x1001: "oca", 0x1002: "pek", 0x1003: "pdh", 0x1004: "cek"}
NO_USAGE = 0x1000
UNKNOWN = "certificate"
"""What looks like a SEV certificate of none of these usages."""

RSA_SHA256, ECDSA_SHA256, ECDH_SHA256 = 0x001, 0x002, 0x003
RSA_SHA384, ECDSA_SHA384, ECDH_SHA384 = 0x101, 0x102, 0x103
_ECDSA, _ECDH = (ECDSA_SHA256, ECDSA_SHA384), (ECDH_SHA256, ECDH_SHA384)
SIGNING = {"oca": _ECDSA, "pek": _ECDSA, "cek": _ECDSA, "pdh": _ECDH}
"""Algorithms a key of each kind may be for."""

ALGORITHMS = {
    RSA_SHA256: "RSA-PSS with SHA-256", ECDSA_SHA256: "ECDSA with SHA-256", ECDH_SHA256: "ECDH with SHA-256",
    RSA_SHA384: "RSA-PSS with SHA-384", ECDSA_SHA384: "ECDSA with SHA-384", ECDH_SHA384: "ECDH with SHA-384", 0: "none",
}  # fmt: skip

SIGNATURES = (RSA_SHA256, RSA_SHA384, *_ECDSA)
"""Algorithms a signature may be by."""

CURVES = {1: 32, 2: 48}
"""Curve id → bytes of a coordinate: P-256, P-384."""

COORDINATE = 72
KEY_AT, KEY_SIZE = 0x10, 0x404
SLOTS = (0x414, 0x61C)

REPORT_SIZE, REPORT_SIGNED = 0xD0, 0x34
POLICY_BITS = {"nodbg": 0, "noks": 1, "es": 2, "nosend": 3, "domain": 4, "sev": 5}
POLICY_RESERVED = 0xFFC0

PROFILE = "fastness/sev/v1"
PARTS = ("ark", "ask", "cek", "pek", "oca", "pdh", "report", "launch", "proof")
"""Parts of our own container: canonical CBOR ``{1: profile, 2: ark, … 10: proof}``, absent parts left out. ``launch``
is the host's document of :mod:`fastness.tee.sev.launch`, ``proof`` the guest's of :mod:`fastness.wire.injected`."""
