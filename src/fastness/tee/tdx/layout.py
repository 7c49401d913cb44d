"""Layout of TD report bodies, all little endian (Intel TDX DCAP Quoting Library API, A.3.2; TDX Module ABI, TDREPORT).

The container is that of :mod:`fastness.tee.dcap.layout`. Body 1.0 is 584 bytes, 1.5 adds 64, 1.5 extended 237 more.
"""

from __future__ import annotations

from fastness.tee.dcap.layout import BODY_TD10, BODY_TD15, BODY_TD15_EX, TEE_TDX, XFRM_BITS

__all__ = ["BODY_TD10", "BODY_TD15", "BODY_TD15_EX", "TEE_TDX", "XFRM_BITS"]

FIELDS = (
    ("tee_tcb_svn", 0, 16, "TCB at launch of the TD: TDX module SVN and version, microcode"),
    ("mrseam", 16, 48, "measurement of the TDX module"),
    ("mrsignerseam", 64, 48, "signer of the TDX module, zero for Intel"),
    ("seam_attributes", 112, 8, "attributes of the TDX module, zero in production"),
    ("td_attributes", 120, 8, "TD attributes"),
    ("xfam", 128, 8, "extended features the TD may use"),
    ("mrtd", 136, 48, "build-time measurement of the TD"),
    ("mrconfigid", 184, 48, "configuration id, chosen by the host"),
    ("mrowner", 232, 48, "owner id, chosen by the host"),
    ("mrownerconfig", 280, 48, "owner's configuration id, chosen by the host"),
    ("rtmr0", 328, 48, "firmware configuration: TD HOB, ACPI, Secure Boot variables"),
    ("rtmr1", 376, 48, "boot loader and kernel"),
    ("rtmr2", 424, 48, "command line, initrd, OS applications"),
    ("rtmr3", 472, 48, "runtime"),
    ("report_data", 520, 64, "chosen by the guest"),
)
"""(name, offset in the body, size in bytes, meaning): body 1.0."""
MEASURED = 136
"""Where measurements begin: before them stand versions, the TDX module and bits."""

FIELDS_15 = (
    ("tee_tcb_svn2", 584, 16, "TCB now running"),
    ("mr_servicetd", 600, 48, "measurement of the service TDs bound to the TD"),
)

FIELDS_15_EX = (
    ("vmid", 648, 1, "id of the L2 virtual machine that asked"),
    ("td_id", 649, 32, "unique id of the TD"),
    ("devinfo_hash", 681, 48, "devices assigned to the TD"),
    ("init_servtd_hash", 729, 48, "service TDs bound at creation"),
    ("init_servtd_attr", 777, 8, "attributes of those service TDs"),
    ("init_cpu_svn", 785, 16, "CPUSVN of the platform the TD was created on"),
    ("init_tee_tcb_svn", 801, 16, "TDX TCB of that platform"),
    ("init_tee_fmspc", 817, 12, "three words, the second CPUID.1.EAX of that platform"),
    ("cur_servtd_hash", 829, 48, "service TDs bound now"),
    ("cur_servtd_attr", 877, 8, "attributes of those service TDs"),
)

BY_TYPE = {
    BODY_TD10: FIELDS,
    BODY_TD15: FIELDS + FIELDS_15,
    BODY_TD15_EX: FIELDS + FIELDS_15 + FIELDS_15_EX,
}

TUD = 0xFF
"""TD under debug: if any of bits 0 to 7 is set the TD is untrusted (TDX Module base specification, TD_ATTRIBUTES)."""
ATTRIBUTES = {
    "debug": 0, "hgs_plus_prof": 4, "perf_prof": 5, "pmt_prof": 6, "icssd": 16, "lass": 27, "sept_ve_disable": 28,
    "migratable": 29, "pks": 30, "kl": 31, "tpa": 62, "perfmon": 63,
}  # fmt: skip
XFAM_FIXED1 = 0x3
XFAM_ALLOWED = 0x6DBE7
"""XFAM bits that must be one (x87, SSE), and those that may be."""
