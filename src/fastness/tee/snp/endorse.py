"""Endorsements of SNP reports: the VCEK or VLEK that signs, its chain to a pinned ARK, and the ARK's revocations.

A leaf says for which chip and which firmware it was made; all of it is read strictly, because a field that is missing
or doubled would otherwise pass (AMD 57230, VCEK certificate and KDS interface specification, tables 8 to 11).
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from fastness.claims.finding import Finding, Outcome
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.pki.chain import Chain
from fastness.pki.crl import look_up
from fastness.tee import Collateral
from fastness.tee.snp import layout as at
from fastness.tee.snp.evidence import Evidence, certificates
from fastness.wire import der, x509

KDS = "https://kdsintf.amd.com"
KINDS = {"SEV-VCEK": at.VCEK, "SEV-VLEK": at.VLEK}


class Leaf(NamedTuple):
    """What a VCEK or VLEK says: its kind, product, hardware id (VCEK), cloud (VLEK) and the TCB it was made for."""

    certificate: x509.Certificate
    kind: int
    product: str
    hwid: bytes | None
    csp: str | None
    spl: dict[str, int]

    @property
    def line(self) -> str:
        """The product line of its product name: ``Milan-B1`` is of ``milan``, ``Siena-A0`` of ``genoa``."""
        name = self.product.partition("-")[0].lower()
        return at.VOUCHERS.get(name, name)


def embedded(evidence: Evidence) -> tuple[tuple[str, bytes], ...]:
    """Nothing else travels inside."""
    return ()


def enclosed(evidence: Evidence) -> Collateral:
    """Certificates and lists of the certificate table; entries that are neither are left aside."""
    found: list[x509.Certificate] = []
    lists: list[x509.Crl] = []
    for entry in evidence.table:
        if entry.kind in ("vcek", "vlek", "ask", "ark"):
            found += [x509.certificate(block) for block in certificates(entry)]
        elif entry.kind == "crl":
            lists += [x509.crl(block) for block in certificates(entry)]
    return Collateral(tuple(found), tuple(lists))


def leaves(collateral: Collateral) -> list[x509.Certificate]:
    """The certificates that call themselves VCEK or VLEK."""
    return [item for item in collateral.certificates if item.subject_cn in KINDS]


def missing(evidence: Evidence) -> MissingCollateral:
    """The error for a report without its leaf, with the address of the VCEK where one can be had."""
    if evidence.signing_key == at.VLEK:
        return MissingCollateral(
            "the VLEK certificate",
            check="snp.leaf",
            hint="a VLEK is the cloud's: take it from the certificate table of the extended report",
        )
    generation = at.generation_of(*evidence.cpuid[:2]) if evidence.cpuid else None
    if not any(evidence.chip_id):
        return MissingCollateral(
            "the VCEK certificate", check="snp.leaf", hint="the chip masks its id: its owner has it"
        )
    if generation is None:
        return MissingCollateral("the VCEK certificate", KDS, check="snp.leaf")
    tcb = at.tcb(evidence.reported_tcb, generation.tcb).claims()
    names = {"fmc": "fmcSPL", "boot_loader": "blSPL", "tee": "teeSPL", "snp": "snpSPL", "microcode": "ucodeSPL"}
    query = "&".join(f"{word}={tcb[name]:02d}" for name, word in names.items() if name in tcb)
    chip = evidence.chip_id[: generation.hwid_size].hex()
    return MissingCollateral(
        "the VCEK certificate", f"{KDS}/vcek/v1/{at.LINES[generation.line]}/{chip}?{query}", check="snp.leaf"
    )


def unissued(error: MissingCollateral, leaf: Leaf) -> MissingCollateral:
    """``error`` of a chain that breaks off above ``leaf``, with the address of its line's ASK, ASVK and ARK."""
    line = at.LINES.get(leaf.line)
    kind = "vlek" if leaf.kind == at.VLEK else "vcek"
    source = f"{KDS}/{kind}/v1/{line}/cert_chain" if line else KDS
    return MissingCollateral(error.missing, source, check=error.check, where=error.where)


def read(certificate: x509.Certificate) -> Leaf:
    """The fields of a leaf.

    Raises:
        NotGenuine: ``snp.leaf``: a field is missing or not encoded as the specification says.
    """
    try:
        kind = KINDS[certificate.subject_cn]
        spl = {name: _number(certificate, oid) for name, oid in at.OID_SPL.items() if name != "fmc"}
        if certificate.extension(at.OID_SPL["fmc"]) is not None:
            spl["fmc"] = _number(certificate, at.OID_SPL["fmc"])
        product = _ascii(certificate, at.OID_PRODUCT)
        hwid = _hwid(certificate) if kind == at.VCEK else None
        csp = _ascii(certificate, at.OID_CSP) if kind == at.VLEK else None
    except (MalformedEvidence, KeyError) as error:
        raise NotGenuine(
            "snp.leaf",
            f"the {certificate.subject_cn} certificate is not one AMD makes: {error}",
            where=f"certificate {certificate.subject_cn}",
            hint="get the certificate from AMD's KDS (VCEK) or from the cloud (VLEK)",
        ) from None
    return Leaf(certificate, kind, product, hwid, csp, spl)


def _extension(certificate: x509.Certificate, oid: str) -> x509.Extension:
    found = certificate.extension(oid)
    if found is None:
        raise MalformedEvidence(f"extension {oid}", 0, "to be there", "nothing")
    return found


def _number(certificate: x509.Certificate, oid: str) -> int:
    found = _extension(certificate, oid)
    return der.unsigned(der.one(found.value, der.INTEGER, oid, found.offset), oid, 255)


def _ascii(certificate: x509.Certificate, oid: str) -> str:
    found = _extension(certificate, oid)
    node = der.one(found.value, 0x16, oid, found.offset)
    if not node.value or not node.value.isascii():
        raise MalformedEvidence(f"extension {oid}", found.offset, "an IA5String", node.value[:16].hex())
    return node.value.decode("ascii")


def _hwid(certificate: x509.Certificate) -> bytes:
    """64 bytes, or 8 since Turin; raw, or as an OCTET STRING."""
    found = _extension(certificate, at.OID_HWID)
    value = found.value
    if len(value) in (10, 66) and value[0] == der.OCTET_STRING:
        value = der.one(value, der.OCTET_STRING, "hwID", found.offset).value
    if len(value) not in (8, 64):
        raise MalformedEvidence("extension hwID", found.offset, "8 or 64 bytes", f"{len(value)} bytes")
    return value


def revocation(path: Chain, collateral: Collateral, when: datetime) -> Finding:
    """The finding ``snp.revocation``: the ASK or ASVK looked up in a current list of the ARK.

    The leaf is never looked up: its serial number is 0 for every chip, and AMD revokes the key above it.

    Raises:
        NotGenuine: ``snp.revocation``: revoked, or a list of the ARK that it did not sign.
    """
    issuer = path.certificates[1] if len(path.certificates) > 1 else None
    root = path.certificates[2] if len(path.certificates) > 2 else path.anchor_certificate(collateral.certificates)
    if issuer is None or root is None:
        return _unknown("the ARK's certificate was not supplied")
    found = look_up(issuer, root, collateral.crls, "snp", at=when)
    if not found.checked:
        return _unknown(found.why)
    return Finding("snp.revocation", Outcome.HELD, actual=f"{found.subject} is not on the list of {root.subject_cn}")


def _unknown(why: str) -> Finding:
    return Finding(
        "snp.revocation",
        Outcome.UNKNOWN,
        expected="the ASK or ASVK looked up in a current list of the ARK",
        actual=why,
        hint="fetch the list (`fastness collateral fetch`), or waive snp.revocation",
    )
