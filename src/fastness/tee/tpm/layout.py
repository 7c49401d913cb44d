"""Layout of TPM 2.0 evidence. All TPM structures are big endian (TCG TPM 2.0 Library 1.83, Part 2).

One blob carries everything: a CBOR map in deterministic encoding (RFC 8949 section 4.2.1). Only 1 to 5 are required.

==== ================ ==========================================================================================
key  field            value
==== ================ ==========================================================================================
1    profile          text ``fastness/tpm/v1``
2    quote            TPMS_ATTEST as the TPM signed it
3    signature        TPMT_SIGNATURE, or the bare RSA signature or r ‖ s
4    ak               TPMT_PUBLIC (preferred: attributes and name need it), or a DER SubjectPublicKeyInfo
5    pcrs             map TPM_ALG_ID → map index → digest: exactly the registers that the quote selects
6    event_log        TCG event log, at most 4 MiB
7    ak_certificate   DER, for the key in 4
8    ek_certificate   DER, of the endorsement key
9    activation       what TPM2_ActivateCredential returned, 16 to 64 bytes (Part 1 section 24)
10   hcl_report       Azure HCL report: the hardware report around the vTPM, and the keys it binds
11   td_quote         TDX quote for the TDREPORT in 10
12   certificates     array of DER issuers
==== ================ ==========================================================================================

Azure HCL report (little endian): header 32 bytes ("HCLA", version, report size, request type, status, 12 reserved),
hardware report field 1184 bytes (SNP report, or TDREPORT of 1024 bytes and zeros), then size, version, report type
(2 SNP, 4 TDX), hash type (1 to 3: SHA-256, 384, 512) and size of the runtime data, and the runtime data (JSON).
"""

from __future__ import annotations

PROFILE = "fastness/tpm/v1"
BLOB = {2: "quote", 3: "signature", 4: "ak", 5: "pcrs", 6: "event_log", 7: "ak_certificate", 8: "ek_certificate",
        9: "activation", 10: "hcl_report", 11: "td_quote", 12: "certificates"}  # fmt: skip
KEYS = {name: key for key, name in BLOB.items()}
REQUIRED = {1, 2, 3, 4, 5}
LIMITS = {2: 4096, 3: 2048, 4: 1280, 6: 4 * 1024 * 1024, 7: 16384, 8: 16384, 9: 64, 10: 65536, 11: 65536}
"""Largest size of each byte string, in bytes."""
MAX_CERTIFICATES = 8
MAX_BLOB = 4 * 1024 * 1024 + 256 * 1024

MAGIC = 0xFF544347
"""TPM_GENERATED_VALUE: only the TPM signs structures that begin with it (Part 2 section 6.2)."""
ST_ATTEST_QUOTE = 0x8018
MAX_PCR = 24
MAX_EXTRA = 2 + 64
"""TPM2B_DATA holds as much as a TPMT_HA (Part 2 section 10.4.3): an algorithm and a digest."""

ALG_RSA, ALG_SHA1, ALG_NULL = 0x0001, 0x0004, 0x0010
ALG_RSASSA, ALG_RSAPSS, ALG_ECDSA, ALG_ECC = 0x0014, 0x0016, 0x0018, 0x0023
BANKS = {0x0004: ("sha1", 20), 0x000B: ("sha256", 32), 0x000C: ("sha384", 48), 0x000D: ("sha512", 64)}
"""TPM_ALG_ID of a hash → name and size (Part 2 section 6.3)."""
BANK_IDS = {name: number for number, (name, _) in BANKS.items()}
CURVES = {0x0003: ("1.2.840.10045.3.1.7", 32), 0x0004: ("1.3.132.0.34", 48), 0x0005: ("1.3.132.0.35", 66)}
"""TPM_ECC_CURVE → object identifier and size of a coordinate (P-256, P-384, P-521)."""

ATTRIBUTES = {"fixed_tpm": 1, "st_clear": 2, "fixed_parent": 4, "sensitive_data_origin": 5, "user_with_auth": 6,
              "admin_with_policy": 7, "firmware_limited": 8, "svn_limited": 9, "no_da": 10,
              "encrypted_duplication": 11, "restricted": 16, "decrypt": 17, "sign": 18, "x509_sign": 19}  # fmt: skip
"""TPMA_OBJECT: name → bit (Part 2 section 8.3)."""
AK_ATTRIBUTES = ("fixed_tpm", "fixed_parent", "sensitive_data_origin", "restricted", "sign")

HCL_SIGNATURE, HCL_HEADER, HCL_HARDWARE, HCL_RUNTIME_HEADER = b"HCLA", 32, 1184, 20
HCL_SNP, HCL_TDX = 2, 4
HCL_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
SNP_REPORT_DATA, SNP_VMPL = 0x50, 0x30
TD_REPORT_DATA, TD_REPORT_SIZE = 128, 1024
QUOTE_HEADER, QUOTE_REPORT_DATA = 48, 520

GCE_INSTANCE_INFO = "1.3.6.1.4.1.11129.2.1.21"
"""cloudComputingInstanceInfo of Google's AK certificates."""
EK_USAGE, AK_USAGE = "2.23.133.8.1", "2.23.133.8.3"
"""tcg-kp-EKCertificate and tcg-kp-AIKCertificate (TCG EK Credential Profile 2.5, section 3.2.16)."""
ANY_USAGE = "2.5.29.37.0"
"""anyExtendedKeyUsage (RFC 5280 section 4.2.1.12)."""
