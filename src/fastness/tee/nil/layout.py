"""Layout of ``nil`` evidence: a COSE_Sign1 (ES256) over a CBOR map in deterministic encoding.

==== ============= =====================================================================
key  field         value
==== ============= =====================================================================
1    profile       text ``fastness/nil/v1``
2    report_data   64 bytes chosen by the keep
3    launch        48 bytes, SHA-384 over the list of files the keep runs
4    register      48 bytes, runtime register: ``r' = SHA-384(r ‖ SHA-384(event))``, zero at start
5    debug         true when the keep was started in debug mode
6    instance      16 bytes that name the host's software root installation
==== ============= =====================================================================
"""

from __future__ import annotations

PROFILE = "fastness/nil/v1"
K_PROFILE, K_REPORT_DATA, K_LAUNCH, K_REGISTER, K_DEBUG, K_INSTANCE = range(1, 7)
BYTES = {K_REPORT_DATA: ("report_data", 64), K_LAUNCH: ("launch", 48), K_REGISTER: ("register", 48),
         K_INSTANCE: ("instance", 16)}  # fmt: skip
SIGNATURE_SIZE = 64
"""r ‖ s, 32 bytes each, big endian (RFC 9053 section 2.1)."""
