"""Layout of a Nitro attestation document: a COSE_Sign1 (ES384) over a CBOR map with text keys.

Sources: AWS ``nsm-api`` docs/attestation_process.md section 2.1 (enclaves); EC2 User Guide, "Validate a NitroTPM
Attestation Document" (instances). Both agree but for the name of the map of registers.

============= ===========================================================================================
field         value
============= ===========================================================================================
module_id     text: instance id, ``-enc`` or ``-tpm``, number of the module (issuing Nitro hypervisor module)
digest        text ``SHA384``: what the registers are computed with
timestamp     unsigned, milliseconds since 1970-01-01T00:00:00Z, when the document was made
pcrs          enclaves: map of index 0..31 to register
nitrotpm_pcrs instances: the same, from the NitroTPM's SHA-384 bank
certificate   DER, 1..1024 bytes: the key that signed this document
cabundle      list of DER, 1..1024 bytes each, root first
public_key    null, absent or 0..1024 bytes chosen by the guest
user_data     null, absent or 0..1024 bytes chosen by the guest
nonce         null, absent or 0..1024 bytes chosen by the guest
============= ===========================================================================================
"""

from __future__ import annotations

MODULE_ID, DIGEST, TIMESTAMP, CERTIFICATE, CABUNDLE = "module_id", "digest", "timestamp", "certificate", "cabundle"
PCRS = {"enclave": "pcrs", "nitrotpm": "nitrotpm_pcrs"}
"""Kind of document to the name of its map of registers."""

MANDATORY = {
    kind: frozenset({MODULE_ID, DIGEST, TIMESTAMP, pcrs, CERTIFICATE, CABUNDLE}) for kind, pcrs in PCRS.items()
}
OPTIONAL = frozenset({"public_key", "user_data", "nonce"})
SHA384 = "SHA384"

MAX_OPTIONAL = 1024
MAX_CERTIFICATE = 1024
MAX_BUNDLE = 32
"""Most certificates accepted in a cabundle; AWS sends four, and sets no limit."""

MAX_MODULE_ID = 256
MAX_TIMESTAMP = 253_402_300_799_999
"""The last millisecond of the year 9999, the last that ISO 8601 and X.509 can name."""

MAX_PCR = 31
PCR_SIZE = 48
"""The specification allows registers of 32, 48 and 64 bytes; SHA384, its only digest, makes 48."""

ZERO = bytes(PCR_SIZE)
"""A register that nothing was measured into."""

SIGNATURE_SIZE = 96
"""r ‖ s, 48 bytes each, big endian (RFC 9053 section 2.1)."""

MANDATORY_PCRS = {"enclave": range(5), "nitrotpm": range(0)}
"""Enclaves: image, kernel, application, role and instance are always there. NitroTPM: at least one, whichever."""

DEBUG_PCRS = range(3)
"""All zero in an enclave started in debug mode (Nitro Enclaves User Guide, "Where to get PCR values")."""

MEANINGS = {
    "enclave": {
        0: "the enclave image",
        1: "kernel and bootstrap",
        2: "the application",
        3: "IAM role of the parent instance",
        4: "id of the parent instance",
        8: "certificate that signed the image",
    },
    "nitrotpm": {
        0: "firmware code (constant, AWS's)",
        1: "firmware data (constant, AWS's)",
        4: "boot manager: the image",
        7: "Secure Boot policy",
        11: "unified kernel image",
        12: "kernel command line",
    },
}
