"""SNP: real reports, forged ones of every generation, and one lie per check."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vectors
from fastness.claims.finding import Outcome, table
from fastness.claims.model import Claims
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.forge import snp as forge
from fastness.forge.model import Forged
from fastness.pki import anchors as pins
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, snp
from fastness.tee.snp import layout
from fastness.wire import pem, x509

GENERATIONS = [item.name for item in layout.GENERATIONS]


def verify(forged: Forged, **changed: Any) -> Any:
    given_ = replace(forged, **changed)
    evidence = snp.parse(given_.evidence)
    return snp.verify(evidence, snp.enclosed(evidence) + given_.collateral, given_.anchors, at=given_.at)


def claims(**spec: Any) -> Claims:
    return snp.claims(verify(forge.make(spec)))


def outcome(forged: Forged, check: str) -> Outcome | None:
    return next((item.outcome for item in verify(forged).findings if item.check == check), None)


def real(name: str) -> Forged:
    case = vectors.case(name)
    chain = [x509.certificate(der) for _, der in pem.unarmour(case.files["vek_chain"])]
    lists = tuple(x509.crl(data) for role, data in case.files.items() if "crl" in role)
    leaf = x509.certificate(case.files["vek"])
    if case.at is None:
        raise AssertionError(name)
    return Forged("snp", case.files["report"], Collateral((leaf, *chain), lists), pins.vendor(), case.at)


@pytest.mark.parametrize("name", [name for name in vectors.names("snp") if "--" not in name and "neg" not in name])
def test_real_reports(name: str) -> None:
    case = vectors.case(name)
    genuine = verify(real(name))
    told, facts = snp.claims(genuine), case.facts
    assert not genuine.simulated
    assert told.debug is case.expected["debug"]
    assert told.measurements["launch"] == facts["measurement"]
    assert told.report_data == facts["report_data"]
    assert told.extra["vmpl"] == facts["vmpl"]
    assert told.extra["signing_key"] == facts["signing_key"]
    wanted = {"bl": "boot_loader", "tee": "tee", "snp": "snp", "ucode": "microcode", "fmc": "fmc"}
    assert told.tcb["reported"] == {wanted[key]: value for key, value in facts["vek_tcb"].items() if value is not None}
    if facts.get("cpuid_fam_mod_step"):
        assert [told.cpu.family, told.cpu.model, told.cpu.stepping] == facts["cpuid_fam_mod_step"]
    line = layout.generation_of_line(facts["product_line"])
    assert line is not None
    assert snp.unparse(snp.parse(case.files["report"])) == case.files["report"]


@pytest.mark.parametrize("name", [name for name in vectors.names("snp") if "--" in name or "neg" in name])
def test_altered_reports(name: str) -> None:
    with pytest.raises((MalformedEvidence, NotGenuine, MissingCollateral)):
        verify(real(name))


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("key", ["vcek", "vlek"])
def test_every_generation_is_genuine_and_named(generation: str, key: str) -> None:
    forged = forge.make({"generation": generation, "key": key})
    genuine = verify(forged)
    told = snp.claims(genuine)
    assert genuine.simulated
    assert told.cpu.generation == generation
    assert told.cpu.vendor == "amd"
    assert ("fmc" in told.tcb["reported"]) is (generation in ("turin", "venice"))
    assert outcome(forged, "snp.revocation") is Outcome.HELD
    assert told.extra.get("csp_id") == ("FakeClou" if key == "vlek" else None)


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_versions(version: int) -> None:
    told = claims(version=version, generation="milan")
    assert told.cpu.generation == "milan"
    assert told.cpu.source == ("vcek" if version == 2 else "report")
    assert ("mitigations" in told.extra) is (version == 5)


def test_a_version_2_report_of_the_genoa_line_cannot_tell_genoa_from_bergamo() -> None:
    assert claims(version=2, generation="genoa").cpu.generation is None


@pytest.mark.parametrize(("lie", "check"), sorted(forge.LIES.items()))
def test_one_lie_one_check(lie: str, check: str) -> None:
    generation = "turin" if lie == "fmc" else "milan"
    forged = forge.make({"lie": lie, "generation": generation})
    if check == "snp.tcb-order":
        assert outcome(forged, check) is Outcome.FAILED
        return
    with pytest.raises(NotGenuine) as error:
        verify(forged)
    assert error.value.check == check


def test_b05_the_chip_binding_is_really_executed() -> None:
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"lie": "chip-id", "generation": "turin"}))
    assert error.value.check == "snp.chip-id"


@pytest.mark.parametrize(
    "missing", [layout.OID_PRODUCT, layout.OID_HWID, *(oid for name, oid in layout.OID_SPL.items() if name != "fmc")]
)
def test_b06_a_missing_extension_is_refused(missing: str) -> None:
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"without": missing}))
    assert error.value.check == "snp.leaf"


def test_a_hardware_id_has_the_size_of_its_generation() -> None:
    """8 bytes, padded, are the chip id of the report: of a Turin, not of a Milan."""
    assert claims(generation="turin", chip_id="11" * 8).hardware_id
    with pytest.raises(NotGenuine) as error:
        claims(generation="milan", chip_id="11" * 8)
    assert error.value.check == "snp.chip-id"


def test_b06_a_missing_fmc_is_refused_on_turin_and_an_added_one_on_milan() -> None:
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"without": layout.OID_SPL["fmc"], "generation": "turin"}))
    assert error.value.check == "snp.leaf-tcb"
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"lie": "fmc", "generation": "milan"}))
    assert error.value.check == "snp.leaf-tcb"


def test_b07_a_vlek_is_not_a_vcek() -> None:
    for key in ("vcek", "vlek"):
        with pytest.raises(NotGenuine) as error:
            verify(forge.make({"lie": "kind", "key": key}))
        assert error.value.check == "snp.signing-key"
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"lie": "asvk-for-vcek", "key": "vlek"}))
    assert error.value.check == "snp.chain"


def test_b08_revocation_lists() -> None:
    for kind, wanted in (("good", Outcome.HELD), ("none", Outcome.UNKNOWN), ("stale", Outcome.UNKNOWN)):
        assert outcome(forge.make({"crl": kind}), "snp.revocation") is wanted
    for kind in ("revoked", "forged"):
        for key in ("vcek", "vlek"):
            with pytest.raises(NotGenuine) as error:
                verify(forge.make({"crl": kind, "key": key}))
            assert error.value.check == "snp.revocation"


def test_b08_a_root_named_by_its_key_alone_has_lists_too() -> None:
    """The list names its issuer, whose certificate lies among the others."""
    for kind in ("good", "revoked"):
        forged = forge.make({"crl": kind, "generation": "genoa"})
        ark = next(item for item in forged.collateral.certificates if item.subject_cn == "ARK-Genoa")
        named = replace(forged, anchors=Anchors((pins.from_key("snp", "ark", ark.key),)))
        if kind == "good":
            assert outcome(named, "snp.revocation") is Outcome.HELD
            rest = tuple(item for item in forged.collateral.certificates if item != ark)
            alone = replace(named, collateral=Collateral(rest, forged.collateral.crls))
            assert outcome(alone, "snp.revocation") is Outcome.UNKNOWN
        else:
            with pytest.raises(NotGenuine) as error:
                verify(named)
            assert error.value.check == "snp.revocation"


def test_b09_serial_0_is_never_looked_up() -> None:
    """Real leaves carry serial 0: a list that names 0 neither refuses nor accepts anybody."""
    forged = real("snp/milan-v2-steward-csr-crl")
    assert forged.collateral.certificates[0].serial == 0
    assert outcome(forged, "snp.revocation") is Outcome.HELD


def test_b22_reserved_bytes_and_unknown_versions_are_refused() -> None:
    data = forge.make({"generation": "milan"}).evidence
    for offset, size in (*layout.RESERVED, (0x2A0 + 48, 24), (0x2E8 + 48, 24), (0x330, 368)):
        for at in (offset, offset + size - 1):
            with pytest.raises(MalformedEvidence) as error:
                snp.parse(data[:at] + b"\x01" + data[at + 1 :])
            assert error.value.offset == offset
    for version in (0, 1, 6, 7):
        with pytest.raises(MalformedEvidence, match="version"):
            snp.parse(version.to_bytes(4, "little") + data[4:])
    older = forge.make({"generation": "milan", "version": 2}).evidence
    with pytest.raises(MalformedEvidence):
        snp.parse(older[:0x188] + b"\x19" + older[0x189:])
    assert snp.parse(data).cpuid == (0x19, 1, 1)


def test_what_is_nearly_a_report_is_told_as_one() -> None:
    """Cut short, of a later version, with one mark of three wrong: recognised, and the error has field and offset."""
    for data, field in (
        (REPORT[:-1], "report"), (REPORT[: layout.SIGNED_SIZE], "report"), (b"\x06" + REPORT[1:], "version"),
        (REPORT[:0x34] + b"\x02" + REPORT[0x35:], "signature_algo"), (REPORT[:0x0A] + b"\0" + REPORT[0x0B:], "policy"),
    ):  # fmt: skip
        assert snp.recognise(data)
        with pytest.raises(MalformedEvidence) as error:
            snp.parse(data)
        assert error.value.field == field
    assert not snp.recognise(b"\x06" + REPORT[1:0x34] + b"\x02" + REPORT[0x35:])


def test_b23_turin_is_read_with_its_own_layout() -> None:
    told = claims(generation="turin", tcb={"fmc": 3, "boot_loader": 4, "tee": 5, "snp": 6, "microcode": 7})
    assert told.tcb["reported"] == {"fmc": 3, "boot_loader": 4, "tee": 5, "snp": 6, "microcode": 7}
    with pytest.raises(NotGenuine, match="fmc 2 in the report, 3 in the leaf"):
        verify(forge.make({"lie": "fmc", "generation": "turin"}))


def test_b33_and_b34_known_bad_firmware_and_generations_are_refused_by_strict() -> None:
    from fastness.appraise import policy
    from fastness.appraise.verdict import appraise

    def judged(**spec: Any) -> Any:
        forged = forge.make({**spec, "tcb": {"snp": 27, "microcode": 86, **spec.get("tcb", {})}})
        genuine = verify(forged)
        told = snp.claims(genuine)._replace(simulated=False)
        return appraise((told,), genuine.findings, policy.load("strict"), at=forged.at)

    assert judged(generation="genoa").accepted
    assert judged(generation="turin").accepted
    assert judged(generation="milan").decided_by == "policy.rule.no-milan"
    assert not judged(generation="genoa", tcb={"snp": 22}).accepted
    assert not judged(generation="genoa", platform={"alias_check_complete": False}).accepted
    assert not judged(generation="genoa", policy={"debug": True}).accepted
    assert not judged(generation="genoa", policy={"migrate_ma": True}).accepted


def test_b39_a_newer_launch_tcb_is_no_lie() -> None:
    forged = forge.make({"launch": {"microcode": 90}})
    assert outcome(forged, "snp.tcb-order") is None
    assert snp.claims(verify(forged)).tcb["launch"]["microcode"] == 90


def test_b42_paths_are_keyed_by_roots_and_dates_are_judged_each_time() -> None:
    forged = forge.make({})
    verify(forged)
    with pytest.raises(NotGenuine) as error:
        verify(forged, anchors=Anchors())
    assert error.value.check == "snp.chain"
    with pytest.raises(NotGenuine) as error:
        verify(forged, at=forge.DIES + timedelta(seconds=1))
    assert error.value.check == "snp.validity"
    two = forge.make({"chip_id": "11" * 64, "tcb": {"microcode": 60}})
    assert snp.claims(verify(two)).tcb["reported"]["microcode"] == 60


def test_b04_vendor_roots_do_not_vouch_for_a_look_alike() -> None:
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({}), anchors=pins.vendor())
    assert error.value.check == "snp.chain"


def test_a_report_signed_by_no_key_needs_no_certificate_to_be_refused() -> None:
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"lie": "signing-key"}), collateral=Collateral())
    assert error.value.check == "snp.signing-key"


def test_a_version_2_report_must_have_a_chip_id_of_its_line() -> None:
    """Without a processor in the report or a hardware id in a VLEK, the shape of the chip id is all there is."""
    for generation, chip in (("turin", "ab" * 64), ("milan", "ab" * 8)):
        with pytest.raises(NotGenuine) as error:
            verify(forge.make({"version": 2, "generation": generation, "key": "vlek", "chip_id": chip}))
        assert error.value.check == "snp.line"


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (layout.OID_PRODUCT, b"\x16\x02\xc3\xa4"), (layout.OID_PRODUCT, b"\x16\x00"),
        (layout.OID_PRODUCT, b"\x0c\x05Genoa"),
        (layout.OID_HWID, b"\x01" * 9), (layout.OID_HWID, b"\x01" * 63), (layout.OID_HWID, b""),
        (layout.OID_SPL["snp"], b"\x02\x02\x01\x00"), (layout.OID_SPL["snp"], b"\x02\x01\x17\x00"),
    ],
)  # fmt: skip
def test_b06_an_odd_encoding_is_refused(oid: str, value: bytes) -> None:
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"extensions": {oid: value}}))
    assert error.value.check == "snp.leaf"


def test_a_masked_chip_names_no_chip() -> None:
    """MASK_CHIP_ID leaves zeros and no bit: the key that signed is of a chip of its line all the same."""
    for version in (2, 3):
        told = claims(masked=True, generation="milan", version=version)
        assert told.hardware_id is None
        assert (told.extra["chip_id_masked"], told.extra["chip_key_masked"]) == (True, False)
    told = claims(masked=True, masked_key=True, key="vlek")
    assert (told.extra["chip_id_masked"], told.extra["chip_key_masked"]) == (True, True)
    assert claims(masked_key=True, key="vlek").hardware_id


@pytest.mark.parametrize("product", ["Genoa", "Genoa-B2", "Bergamo-A0", "Siena-A0"])
def test_products_of_the_genoa_line(product: str) -> None:
    for generation in ("genoa", "bergamo"):
        assert claims(generation=generation, product=product).extra["leaf_product"] == product
    with pytest.raises(NotGenuine) as error:
        verify(forge.make({"generation": "milan", "product": product}))
    assert error.value.check == "snp.chain"


def test_turin_dense() -> None:
    told = claims(generation="turin", cpuid=(0x1A, 0x11, 0), version=5, product="Turin-B0")
    assert (told.cpu.generation, told.cpu.model) == ("turin", 0x11)


def test_every_bit_is_a_claim() -> None:
    told = claims(policy={"debug": True, "single_socket": True}, platform={"tio": True, "ciphertext_hiding_dram": True})
    assert told.debug is True
    assert {name for name in layout.POLICY_BITS if told.extra["policy"][name]} == {"debug", "single_socket", "smt"}
    assert told.extra["platform"]["tio"] is True
    assert told.extra["platform"]["ciphertext_hiding_dram"] is True
    assert set(told.extra["platform"]) == set(layout.PLATFORM_BITS)


@pytest.mark.parametrize("offset", range(0x1E8, 0x1EB))
def test_firmware_of_another_version_is_provisional_at_the_same_tcb(offset: int) -> None:
    maker = forge.Maker({})
    body = bytearray(maker.report()[: layout.SIGNED_SIZE])
    body[offset] += 1
    forged = replace(maker.forged(), evidence=forge._sign(bytes(body), maker.leaf.key))
    assert outcome(forged, "snp.provisional") is Outcome.NOTE
    assert snp.claims(verify(forged)).extra["provisional"] is True


def test_provisional_firmware_is_told() -> None:
    forged = forge.make({"current": {"microcode": 99}})
    assert outcome(forged, "snp.provisional") is Outcome.NOTE
    assert snp.claims(verify(forged)).extra["provisional"] is True


def test_mitigation_vectors() -> None:
    told = claims(version=5, mitigations=(3, 11))
    assert told.extra["mitigations"]["launch"] == "0x3"
    assert told.extra["mitigations"]["current_bit3"] is True
    assert told.extra["mitigations"]["launch_bit3"] is False


def test_a_hardware_id_may_be_wrapped() -> None:
    assert claims(wrapped=True).hardware_id
    assert claims(wrapped=True, generation="turin").hardware_id


@pytest.mark.parametrize("key", ["vcek", "vlek"])
def test_certificates_travel_in_a_table(key: str) -> None:
    forged = forge.make({"table": True, "key": key})
    assert forged.collateral.certificates == ()
    assert verify(forged)
    evidence = snp.parse(forged.evidence)
    assert [entry.kind for entry in evidence.table] == [key, "ask", "ark"]
    assert snp.unparse(evidence) == forged.evidence


def test_entries_kept_free_are_passed_over() -> None:
    """Producers leave entries for lists or keys they do not have: of no size, or of zeros."""
    forged = forge.make({"table": True})
    entries = snp.parse(forged.evidence).table
    head, data, size = b"", b"", layout.ENTRY_SIZE * (len(entries) + 3)
    guids = {kind: bytes.fromhex(guid) for guid, kind in layout.TABLE.items()}
    for entry in entries:
        head += guids[entry.kind] + (size + len(data)).to_bytes(4, "little") + len(entry.data).to_bytes(4, "little")
        data += entry.data
    head += guids["crl"] + bytes(8)
    head += guids["vlek"] + (size + len(data)).to_bytes(4, "little") + (64).to_bytes(4, "little")
    report = forged.evidence[: layout.REPORT_SIZE]
    assert verify(forged, evidence=report + head + bytes(layout.ENTRY_SIZE) + data + bytes(64))


def test_an_entry_may_hold_a_chain() -> None:
    """ASK and ARK one after the other, as KDS's chain turned into DER is."""
    forged = forge.make({})
    leaf, ask, _, ark = (item.raw for item in forged.collateral.certificates)
    table_ = forge._table([("vcek", leaf), ("ask", ask + ark + bytes(9))])
    pinned = Anchors(tuple(item._replace(certificate=None) for item in forged.anchors.items))
    assert verify(forged, evidence=forged.evidence + table_, collateral=Collateral(), anchors=pinned)


def test_a_table_is_bounded() -> None:
    forged = forge.make({"table": True})
    size = layout.REPORT_SIZE
    entry = forged.evidence[size : size + 24]
    for table_ in (
        entry[:16] + b"\xff\xff\xff\x00" + entry[20:],
        entry[:20] + b"\xff\xff\xff\x00",
        entry[:16] + bytes(4) + entry[20:],
        entry,
    ):
        with pytest.raises(MalformedEvidence, match="certificate table"):
            snp.parse(forged.evidence[:size] + table_ * 2 + forged.evidence[size + 48 :])
    with pytest.raises(MalformedEvidence):
        snp.parse(forged.evidence[: size + 30])


def test_without_a_leaf_the_address_of_the_vcek_is_told() -> None:
    forged = forge.make({"generation": "turin", "chip_id": "0102030405060708", "tcb": {"microcode": 81}})
    with pytest.raises(MissingCollateral) as error:
        verify(forged, collateral=Collateral())
    assert error.value.source == (
        "https://kdsintf.amd.com/vcek/v1/Turin/0102030405060708?fmcSPL=02&blSPL=09&teeSPL=01&snpSPL=23&ucodeSPL=81"
    )
    old = forge.make({"generation": "milan", "chip_id": "ab" * 64})
    with pytest.raises(MissingCollateral, match="VCEK") as error:
        verify(old, collateral=Collateral())
    assert error.value.source.startswith(f"https://kdsintf.amd.com/vcek/v1/Milan/{'ab' * 64}?blSPL=09")
    vlek = forge.make({"key": "vlek"})
    with pytest.raises(MissingCollateral, match="VLEK"):
        verify(vlek, collateral=Collateral())


@pytest.mark.parametrize("key", ["vcek", "vlek"])
def test_without_its_issuers_the_address_of_the_chain_is_told(key: str) -> None:
    forged = forge.make({"generation": "genoa", "key": key})
    leaf = next(item for item in forged.collateral.certificates if item.subject_cn == f"SEV-{key.upper()}")
    with pytest.raises(MissingCollateral, match="Genoa") as error:
        verify(forged, collateral=Collateral((leaf,)))
    assert (error.value.check, error.value.where) == ("snp.chain", f"certificate SEV-{key.upper()}")
    assert error.value.hint == f"fetch it from https://kdsintf.amd.com/{key}/v1/Genoa/cert_chain"


def test_of_several_leaves_the_one_of_this_chip_counts() -> None:
    forged, other = forge.make({}), forge.make({})
    both = Collateral(other.collateral.certificates + forged.collateral.certificates, forged.collateral.crls)
    assert verify(forged, collateral=both)


@pytest.mark.parametrize("spec", [{"key": "vlek"}, {"masked": True}, {"masked": True, "generation": "turin"}])
def test_of_several_leaves_that_name_no_chip_the_one_that_signed_counts(spec: dict[str, Any]) -> None:
    forged, other = forge.make(spec), forge.make(spec)
    for certificates in (
        other.collateral.certificates + forged.collateral.certificates,
        forged.collateral.certificates + other.collateral.certificates,
    ):
        assert verify(forged, collateral=Collateral(certificates, forged.collateral.crls))


def test_of_a_leaf_issued_anew_the_valid_one_counts() -> None:
    """AMD's KDS makes a new certificate of the same key at each request."""
    forged = forge.make({})
    leaf = forged.collateral.certificates[0]
    for dates in ({"not_after": forge.BORN}, {"not_before": forge.DIES}):
        other = leaf._replace(raw=leaf.raw + b"\0", **dates)
        for certificates in ((other, *forged.collateral.certificates), (*forged.collateral.certificates, other)):
            assert verify(forged, collateral=Collateral(certificates, forged.collateral.crls))


def test_venice_needs_its_root_named() -> None:
    forged = forge.make({"generation": "venice"})
    assert snp.claims(verify(forged)).cpu.generation == "venice"
    with pytest.raises(NotGenuine):
        verify(forged, anchors=pins.vendor())


def test_truncation_and_single_byte_changes() -> None:
    forged = forge.make({"generation": "turin", "version": 5})
    data = forged.evidence
    for end in range(0, len(data), 7):
        with pytest.raises(MalformedEvidence):
            snp.parse(data[:end])
    for index in range(0, len(data), 5):
        with pytest.raises((MalformedEvidence, NotGenuine)):
            verify(forged, evidence=data[:index] + bytes((data[index] ^ 0x10,)) + data[index + 1 :])


@given(st.binary(max_size=2000))
def test_any_bytes(data: bytes) -> None:
    snp.recognise(data)
    with pytest.raises(MalformedEvidence):
        snp.parse(data)


@given(st.binary(max_size=900))
def test_any_table(tail: bytes) -> None:
    report = REPORT + tail
    try:
        evidence = snp.parse(report)
        snp.enclosed(evidence)
    except MalformedEvidence:
        return
    assert snp.unparse(evidence) == report


REPORT = forge.make({}).evidence


def test_show_names_every_field() -> None:
    rows = snp.show(snp.parse(REPORT))
    assert {name for name, *_ in rows} == set(layout.FIELDS)
    assert sum(size for _, _, size, _ in rows) <= layout.REPORT_SIZE


def test_show_decodes_bits_and_components() -> None:
    spec = {"generation": "turin", "version": 5, "key": "vlek", "policy": {"debug": True}, "vmpl": layout.HOST_VMPL}
    rows = {name: meaning for name, _, _, meaning in snp.show(snp.parse(forge.make(spec).evidence))}
    assert rows["policy"].endswith("(abi 0.0, smt, debug)")
    assert rows["platform_info"].endswith("(smt, ecc, alias_check_complete)")
    assert rows["key_info"].endswith("(signed by VLEK)")
    assert rows["reported_tcb"].endswith("(boot_loader 9, tee 1, snp 23, microcode 84, fmc 2)")
    assert rows["vmpl"].endswith("the host asked")
    assert rows["signature"].partition(": ")[2].startswith("r 0x")


CHECKS = {
    "snp.signing-key", "snp.leaf", "snp.chain", "snp.validity", "snp.line", "snp.chip-id", "snp.leaf-tcb",
    "snp.signature", "snp.revocation", "snp.tcb-order", "snp.id-key", "snp.id-signature",
    "snp.author-key", "snp.id-block",
}  # fmt: skip


def test_there_is_a_lie_for_every_check_and_a_row_in_the_table() -> None:
    assert set(forge.LIES.values()) == CHECKS
    assert {check for check in table() if check.startswith("snp.")} == CHECKS | {"snp.provisional"}
