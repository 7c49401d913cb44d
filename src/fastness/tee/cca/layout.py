"""Layout of an Arm CCA attestation token: two COSE_Sign1 messages over CBOR maps with integer keys, in a collection.

Sources: RMM specification (DEN0137) 1.0 and 2.0 section A7.2; draft-ffm-rats-cca-token-00 to -03.

===== ====================================================================================================
tag   collection (also accepted untagged)
===== ====================================================================================================
399   ``{44234: bytes, 44241: bytes}`` (RMM 1.0, draft -00 and -01)
907   ``{44234: [263, bytes], 44241: [263, bytes], ? 44258: [601, bytes]}`` (RMM 2.0, draft -02 and later)
===== ====================================================================================================

44234 is the platform token, signed by the platform attestation key; 44241 the realm token, signed by the realm
attestation key (RAK), which the platform token's challenge is the hash of; 44258 are unsigned claims of devices,
which the realm token holds the hash of.
"""

from __future__ import annotations

from dataclasses import dataclass

TAG_LEGACY, TAG_CMW = 399, 907
PLATFORM, REALM, DEVICES = 44234, 44241, 44258
COLLECTION_TYPE = "__cmwc_t"
"""Optional text key of a CMW collection (draft-ietf-rats-msg-wrap section 3.3)."""

CWT = (263, "application/eat+cwt")
UCCS = (601, "application/uccs+cbor")
"""CoAP content format and media type of the two kinds of member."""

PROFILE, CHALLENGE, INSTANCE_ID = 265, 10, 256
CLIENT_ID, LIFECYCLE, IMPLEMENTATION_ID = 2394, 2395, 2396
SW_COMPONENTS, VERIFICATION_SERVICE, CONFIG, HASH_ALGORITHM = 2399, 2400, 2401, 2402
MANUFACTURING = 2403

PERSONALISATION, REALM_HASH, RAK, RIM, REM, RAK_HASH = 44235, 44236, 44237, 44238, 44239, 44240
MEC_POLICY, LFA_POLICY, DEVICES_HASH = 44243, 44244, 44257
MEC_POLICIES = ("shared", "private")

HASHES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Names as in the IANA Named Information Hash Algorithm Registry, to sizes in bytes."""

CHALLENGE_SIZE = PERSONALISATION_SIZE = 64
IMPLEMENTATION_SIZE, INSTANCE_SIZE = 32, 33
UEID_RAND = 0x01
"""First byte of an EAT UEID of type RAND (RFC 9711 section 4.2.1)."""

RAW_RAK_SIZE = 97
"""An uncompressed P-384 point, 0x04 ‖ x ‖ y: the RAK before RMM 1.0."""

REMS = 4
MAX_BYTES = 4096
"""Bound of fields that the specification leaves open (platform config, texts), in bytes."""

MAX_COMPONENTS = 256
CLIENT_RMSD = 1


@dataclass(frozen=True, slots=True)
class Component:
    """Name of one integer key of a software component, and what it holds."""

    name: str
    kind: str
    mandatory: bool = False


COMPONENT = {
    1: Component("type", "text"),
    2: Component("measurement", "hash", mandatory=True),
    4: Component("version", "text"),
    5: Component("signer", "hash", mandatory=True),
    6: Component("hash_algorithm", "text"),
    7: Component("live_activation", "bool"),
    8: Component("countersigners", "hashes"),
}
"""Keys of cca-platform-sw-component (DEN0137 2.0 section A7.2.3.3.8)."""

LIFECYCLES = {
    0x00: "unknown",
    0x10: "assembly-and-test",
    0x20: "rot-provisioning",
    0x30: "secured",
    0x40: "non-cca-platform-rot-debug",
    0x50: "recoverable-cca-platform-rot-debug",
    0x60: "decommissioned",
}
"""value[15:8] of the lifecycle claim to its name; value[7:0] is up to the implementation."""

SECURED = 0x30

PLATFORM_PROFILES = {
    "http://arm.com/CCA-SSD/1.0.0": 1,
    "tag:arm.com,2023:cca_platform#1.0.0": 1,
    "tag:arm.com,2024:cca_platform#2.0.0": 2,
}
REALM_PROFILES = {"tag:arm.com,2023:realm#1.0.0": 1, "tag:arm.com,2024:realm#2.0.0": 2}
"""Profile to major version; a realm token without one follows the platform token's (section A7.2.3.1.2)."""

CURVES = {1: ("P-256", 32, -7, -9), 2: ("P-384", 48, -35, -51), 3: ("P-521", 66, -36, -52)}
"""COSE curve to name, size of a coordinate, and its algorithm by both names (RFC 9053 section 2.1, RFC 9864)."""
