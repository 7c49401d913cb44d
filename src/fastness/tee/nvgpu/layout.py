"""Layout of an NVIDIA attestation report: SPDM 1.1 GET_MEASUREMENTS request ‖ MEASUREMENTS response, little endian.

Sources: DMTF DSP0274 1.1.0 sections 10.11.1 and 10.11.2; NVIDIA nvtrust, ``attestation/spdm_msrt_*_msg.py`` for the
opaque data, and NVIDIA attestation-sdk for its later types.

======= ==== ================================================================================
request
======= ==== ================================================================================
0       1    SPDM version, 0x11
1       1    request code, 0xE0
2       1    attributes: bit 0 set, a signature is asked for
3       1    measurement operation: 0xFF, all of them
4       32   nonce of whoever asked
36      1    certificate slot, bits 0 to 3
======= ==== ================================================================================

======= ==== ================================================================================
reply
======= ==== ================================================================================
0       1    SPDM version, 0x11
1       1    response code, 0x60
2       1    number of indices, 0 unless it was asked for
3       1    certificate slot, bits 0 to 3
4       1    number of measurement blocks
5       3    size of the measurement record
8       …    blocks: index (from 1), specification 1 (DMTF), size, type, size of value, value
…       32   nonce of the device
…       2    size of the opaque data
…       …    opaque data: type (2), size (2), value. Since driver 620 a header of 12 bytes comes before, and the type of
            the value (2) between type and size
…       96   signature: r ‖ s, 48 bytes each, big endian
======= ==== ================================================================================
"""

from __future__ import annotations

VERSION, REQUEST_CODE, RESPONSE_CODE = 0x11, 0xE0, 0x60
SIGNATURE_REQUESTED, ALL_MEASUREMENTS = 0x01, 0xFF
REQUEST_SIZE, NONCE_SIZE, SIGNATURE_SIZE = 37, 32, 96
HEADERS = (
    ("request.SPDMVersion", 0, 1),
    ("request.RequestResponseCode", 1, 1),
    ("request.Param1", 2, 1),
    ("request.Param2", 3, 1),
    ("request.SlotIDParam", 36, 1),
    ("response.SPDMVersion", 37, 1),
    ("response.RequestResponseCode", 38, 1),
    ("response.Param1", 39, 1),
    ("response.Param2", 40, 1),
    ("NumberOfBlocks", 41, 1),
    ("MeasurementRecordLength", 42, 3),
)
"""Fields of fixed place: name, offset, size."""

DMTF = 1
"""The only measurement specification there is (DSP0274 table 43, bit 0)."""

MAX_BLOCKS = 254
"""Indices 0 and 0xFF are not measurements (DSP0274 1.1.0 table 41)."""

MAX_VALUE = 64
"""Longest measurement accepted: a SHA-512 digest. NVIDIA's are SHA-384."""

MAX_OPAQUE = 1024
"""DSP0274 section 10.11.2: OpaqueLength shall not exceed 1024 bytes."""

OPAQUE_MAGIC, OPAQUE_MAJOR = b"NVDAOD", 2
"""Header of opaque data since driver 620: magic (6), profile 0 (2), major (1), minor (1), patch (1), padding 0 (1).

Source: NVIDIA, "NVIDIA Opaque Data Format" (docs.nvidia.com/attestation/specs/latest/opaque-data-format.html).
"""

MIN_SVN = 0x87
"""Type of a value, 16 bits: a security version number (NVIDIA attestation-sdk, ``gpu/verify.cpp``)."""

MAX_PADDING = 8192
"""Most zeros accepted after a report: drivers hand over their whole fixed buffer, of which the report is the start."""

DRIVER, GPU_INFO, SKU, VBIOS, NVDEC0 = 3, 4, 5, 6, 11
COUNTS, CPR_INFO, BOARD, CHIP_SKU, CHIP_SKU_MOD, PROJECT, PROJECT_SKU, PROJECT_SKU_MOD = 12, 13, 14, 15, 16, 17, 18, 19
FWID, PROTECTED_PCIE, SWITCH_PDI, FEATURE, FSP_SVN = 20, 21, 22, 36, 37

NAMES = {
    1: "cert_issuer_name",
    2: "cert_authority_key_id",
    DRIVER: "driver_version",
    GPU_INFO: "gpu_info",
    SKU: "sku",
    VBIOS: "vbios_version",
    7: "manufacturer_id",
    8: "tamper_detection",
    9: "smc",
    10: "vpr",
    NVDEC0: "nvdec0_status",
    COUNTS: "measurement_counts",
    CPR_INFO: "cpr_info",
    BOARD: "board_id",
    CHIP_SKU: "chip_sku",
    CHIP_SKU_MOD: "chip_sku_mod",
    PROJECT: "project",
    PROJECT_SKU: "project_sku",
    PROJECT_SKU_MOD: "project_sku_mod",
    FWID: "fwid",
    PROTECTED_PCIE: "protected_pcie_status",
    SWITCH_PDI: "switch_pdi",
    23: "floorswept_ports",
    24: "position_id",
    25: "lock_switch_status",
    32: "gpu_link_connections",
    33: "system_enable_status",
    34: "opaque_data_version",
    35: "chip_info",
    FEATURE: "feature_flag",
    FSP_SVN: "fsp_ucode_min_svn",
}
"""Type of opaque data to its name."""

STATUS = {b"\xaa": True, b"\x55": False}
"""How NVIDIA writes yes and no, so that one flipped bit makes neither."""

NVDEC0_INDEX = 35
"""The measurement of NVDEC0's microcode, counted from 0; means nothing when NVDEC0 is off (nvtrust ``verifier.py``)."""

FEATURES = {0: "spt", 1: "mpt", 2: "ppcie"}
"""Feature flag: single-GPU pass-through, multi-GPU pass-through, protected PCIe."""

DEVICE_ID, TCB_INFO = "2.23.133.5.4.1", "2.23.133.5.4.1.1"
"""TCG DICE extensions that hold the FWID: Hopper and LS10 carry the first, Blackwell the second."""

SHA384 = "2.16.840.1.101.3.4.2.2"
HASH_SIZE = 48
