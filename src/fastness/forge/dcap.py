"""Forged DCAP quotes: everything SGX and TDX share. ``forge.sgx`` and ``forge.tdx`` give the body.

Keys of a spec, all optional (``python -m fastness.forge`` reads them from TOML):

* ``version`` (3, 4, 5), ``report_data`` (hexadecimal), ``debug``, ``padding`` (zero bytes behind the quote)
* ``generation`` or ``fmspc``, ``ca`` (``platform``, ``processor``), ``ppid``, ``pceid``, ``sgx_type``,
  ``dynamic_platform``, ``cached_keys``, ``smt_enabled``, ``components`` (16 numbers), ``pcesvn``, ``qe_isvsvn``
* ``status`` (Intel's words; TDRelaunchAdvised and TDRelaunchAdvisedConfigurationNeeded for TD reports 1.5 and later),
  ``qe_status``, ``module_status`` (UpToDate, OutOfDate, Revoked), ``module_case`` (``lower``), ``advisories``
* ``tcb_info_version`` (2, 3), ``evaluation_number``, ``certification`` (1 to 5), ``order`` (``reversed``),
  ``no_pck``, ``without`` (a field of the SGX extension: ``2.17``)
* ``lie``: one of :data:`LIES`

A lie is one edit, named after the check it must trip, with everything above it signed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from fastness.errors import UsageError
from fastness.forge import dcap_vendor as fake
from fastness.forge.dcap_vendor import AT, Party, Vendor
from fastness.forge.model import Forged
from fastness.pki import anchors
from fastness.tee import Collateral, Document
from fastness.tee.dcap import cpu, documents, layout, pck
from fastness.wire import pem
from fastness.wire.der import zulu

Spec = Mapping[str, Any]
QE = {"sgx": ("QE", 1, "8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff"),
      "tdx": ("TD_QE", 2, "dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")}  # fmt: skip
QE_ATTRIBUTES = bytes.fromhex("1500000000000000e700000000000000")
QE_MASK = "FBFFFFFFFFFFFFFF0000000000000000"
OTHER = bytes(range(1, 49))
KEYS = frozenset((
    "version", "report_data", "debug", "padding", "generation", "fmspc", "ca", "ppid", "pceid", "sgx_type",
    "dynamic_platform", "cached_keys", "smt_enabled", "components", "pcesvn", "qe_isvsvn", "status", "qe_status",
    "module_status", "module_case", "advisories", "tcb_info_version", "evaluation_number", "certification", "order",
    "no_pck", "without", "lie", "mrenclave", "mrsigner", "isv_prod_id", "isv_svn", "config_svn", "td_report", "fields",
    "event_log",
))  # fmt: skip
LIES = (
    "chain", "pck", "pck-absent", "pck-curve", "validity", "qe-signature", "qe-binding", "signature", "qe-identity",
    "revocation", "revocation-ca", "revocation-signer", "crl-signer", "crl-missing", "stale-crl", "tcb-info",
    "identity", "other-fmspc", "other-pce", "tcb-signature", "identity-signature", "tcb-level",
)  # fmt: skip
RELAUNCH = ("TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded")
_WORDS = {
    "status": (*documents.PLATFORM_STATUSES, *RELAUNCH),
    "qe_status": documents.MODULE_STATUSES,
    "module_status": documents.MODULE_STATUSES,
}


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a quote to be signed: its type, bytes, and (TDX) SVNs of the module at launch and now."""

    kind: int
    raw: bytes
    svn: bytes = b""
    svn2: bytes = b""


def report(**fields: Any) -> bytes:
    """An SGX report body of 384 bytes; missing fields are zero."""
    size = {"cpusvn": 16, "isv_ext_prod_id": 16, "attributes": 16, "mrenclave": 32, "mrsigner": 32, "config_id": 64,
            "isv_family_id": 16, "report_data": 64}  # fmt: skip
    get = {name: fields.get(name, bytes(length)) for name, length in size.items()}
    return layout.REPORT.pack(
        get["cpusvn"], fields.get("miscselect", 0), bytes(12), get["isv_ext_prod_id"], get["attributes"],
        get["mrenclave"], bytes(32), get["mrsigner"], bytes(32), get["config_id"], fields.get("isv_prod_id", 0),
        fields.get("isv_svn", 0), fields.get("config_svn", 0), bytes(42), get["isv_family_id"], get["report_data"],
    )  # fmt: skip


def facts(spec: Spec) -> pck.Pck:
    """What the PCK certificate will say."""
    generation = spec.get("generation", "emerald-rapids")
    listed = {row["generation"]: row["fmspcs"][0] for row in cpu.table().values()}
    on_platform = spec.get("ca", "platform") == "platform"
    return pck.Pck(
        ppid=bytes.fromhex(spec.get("ppid", "a5" * 16)),
        components=tuple(spec.get("components", [3] * 8 + [0] * 8)),
        pcesvn=spec.get("pcesvn", 13),
        cpusvn=bytes(spec.get("components", [3] * 8 + [0] * 8)),
        pceid=bytes.fromhex(spec.get("pceid", "0000")),
        fmspc=bytes.fromhex(spec.get("fmspc", listed[generation])),
        sgx_type=spec.get("sgx_type", "scalable"),
        platform_instance=bytes.fromhex("5a" * 16) if on_platform else None,
        dynamic_platform=spec.get("dynamic_platform", True) if on_platform else None,
        cached_keys=spec.get("cached_keys", True) if on_platform else None,
        smt_enabled=spec.get("smt_enabled", True) if on_platform else None,
    )


def understood(spec: Spec, lies: tuple[str, ...]) -> None:
    """Refuses what would be passed over in silence: a forgery is worth what it says it is.

    Raises:
        UsageError: a key, a status or a lie there is not.
    """
    unknown = sorted(set(spec) - KEYS)
    if unknown:
        raise UsageError(f"no key is called {unknown[0]!r}", hint="one of " + ", ".join(sorted(KEYS)))
    for key, words in (*_WORDS.items(), ("lie", (*lies, ""))):
        if key in spec and spec[key] not in words:
            raise UsageError(f"no {key} is called {spec[key]!r}", hint="one of " + ", ".join(sorted(words)))


class Maker:
    """One fake platform; :meth:`quote` signs a body cheaply (two signatures), so that many distinct quotes are fast."""

    def __init__(self, tee: str, spec: Spec) -> None:
        self.tee, self.spec = tee, spec
        self.lie: str = spec.get("lie", "")
        self.facts = facts(spec)
        self.vendor: Vendor = fake.vendor()
        above = fake.vendor(1) if self.lie == "chain" else self.vendor
        self.ca: Party = above.platform if spec.get("ca", "platform") == "platform" else above.processor
        self.root: Party = above.root
        self.pck = fake.issue(
            "Intel SGX PCK Certificat" if self.lie == "pck" else pck.LEAF,
            self.ca,
            extension=fake.extension(self.facts, without=spec.get("without", "")),
            private=ec.generate_private_key(ec.SECP384R1()) if self.lie == "pck-curve" else None,
            until=AT - timedelta(seconds=1) if self.lie == "validity" else fake.DIES,
        )
        self.key = fake.key()
        self.authentication = bytes(range(32))

    def quote(self, body: Body) -> bytes:
        """The quote over ``body``."""
        spec, version = self.spec, self.version
        tee = 0 if self.tee == "sgx" else layout.TEE_TDX
        head = layout.HEADER.pack(
            version, 2, tee, 0, 0, layout.INTEL_QE_VENDOR, sha256(self.facts.ppid).digest()[:16] + bytes(4)
        )
        if version == 5:
            head += layout.BODY_HEAD.pack(body.kind, len(body.raw))
        signed = head + body.raw
        key = fake.key() if self.lie == "qe-binding" else self.key
        signature = fake.sign(key, signed)
        if self.lie == "signature":
            signed = signed[:-1] + bytes((signed[-1] ^ 1,))
        qe = self._qe_report()
        by = fake.key() if self.lie in ("qe-signature", "pck-curve") else self.pck.key
        inner = qe + fake.sign(by, qe) + len(self.authentication).to_bytes(2, "little") + self.authentication
        inner += self._certification()
        if version > 3:
            inner = layout.CERTIFICATION.pack(layout.QE_REPORT, len(inner)) + inner
        data = signature + fake.point(key) + inner
        return signed + len(data).to_bytes(4, "little") + data + bytes(spec.get("padding", 0))

    @property
    def version(self) -> int:
        """Version of the quote: 3 for SGX and 4 for TDX unless the spec says."""
        return int(self.spec.get("version", 3 if self.tee == "sgx" else 4))

    def _qe_report(self) -> bytes:
        _, product, signer = QE[self.tee]
        return report(
            cpusvn=self.facts.cpusvn,
            attributes=QE_ATTRIBUTES,
            mrenclave=bytes(range(32)),
            mrsigner=OTHER[:32] if self.lie == "qe-identity" else bytes.fromhex(signer),
            isv_prod_id=product,
            isv_svn=self.spec.get("qe_isvsvn", 6),
            report_data=sha256(fake.point(self.key) + self.authentication).digest() + bytes(32),
        )

    def _certification(self) -> bytes:
        kind = int(self.spec.get("certification", layout.PCK_CHAIN))
        if kind in layout.PPID_SIZES:
            data = self.facts.ppid.ljust(layout.PPID_SIZES[kind], b"\0") + self.facts.cpusvn
            data += self.facts.pcesvn.to_bytes(2, "little") + self.facts.pceid
        else:
            chain = [self.pck] if kind == layout.PCK_LEAF else [self.pck, self.ca, self.root]
            if self.spec.get("order") == "reversed":
                chain.reverse()
            if self.lie == "pck-absent":
                chain.remove(self.pck)
            data = pem.armour("CERTIFICATE", [item.certificate.raw for item in chain])
        return layout.CERTIFICATION.pack(kind, len(data)) + data

    def collateral(self, body: Body) -> Collateral:
        """Everything needed to judge quotes of this platform that carry SVNs like ``body``'s."""
        lie, vendor = self.lie, self.vendor
        revoked = {"revocation": (self.pck,)}.get(lie, ())
        below = {"revocation-ca": (self.ca,), "revocation-signer": (vendor.signer,)}.get(lie, ())
        old = AT - timedelta(days=1) if lie == "stale-crl" else None
        by = vendor.signer if lie == "crl-signer" else None
        lists = (fake.crl(self.ca, *revoked, until=old, signer=by), fake.crl(vendor.root, *below))
        signers = [vendor.signer, vendor.root, self.ca, self.root]
        beside = int(self.spec.get("certification", 5)) in layout.PPID_SIZES and not self.spec.get("no_pck")
        if beside or lie == "pck-absent":
            signers.append(self.pck)
        return Collateral(
            tuple({item.certificate.raw: item.certificate for item in signers}.values()),
            () if lie == "crl-missing" else lists,
            (Document("tcb-info", self._tcb_info(body)), Document("qe-identity", self._identity())),
        )

    def _signed(self, name: str, inner: dict[str, Any], lie: str) -> bytes:
        raw = json.dumps(inner, separators=(",", ":")).encode()
        by = fake.key() if self.lie == lie else self.vendor.signer.key
        return b'{"%b":%b,"signature":"%b"}' % (name.encode(), raw, fake.sign(by, raw).hex().encode())

    def _dates(self, check: str) -> dict[str, Any]:
        late = self.lie == check
        issued = AT - timedelta(days=40 if late else 5)
        number = self.spec.get("evaluation_number", 18)
        return {
            "issueDate": zulu(issued),
            "nextUpdate": zulu(issued + timedelta(days=30)),
            "tcbEvaluationDataNumber": number,
        }

    def _tcb_info(self, body: Body) -> bytes:
        known, tdx = self.facts, self.tee == "tdx"
        version = self.spec.get("tcb_info_version", 3)
        fmspc = "FFEEDDCCBBAA" if self.lie == "other-fmspc" else known.fmspc.hex().upper()
        inner: dict[str, Any] = {"id": "TDX" if tdx else "SGX", "version": version, **self._dates("tcb-info")}
        inner |= {"fmspc": fmspc, "pceId": "0001" if self.lie == "other-pce" else known.pceid.hex(), "tcbType": 0}
        if version == 2:
            del inner["id"]
        if tdx:
            base = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
            levels = self._ladder(body.svn[0], self.spec.get("module_status", "UpToDate"), newest=body.svn2[:1])
            case = str.lower if self.spec.get("module_case") == "lower" else str.upper
            inner["tdxModule"] = base
            inner["tdxModuleIdentities"] = [{"id": case(f"TDX_{body.svn[1]:02x}"), **base, "tcbLevels": levels}]
        inner["tcbLevels"] = self._platform_levels(body, version)
        return self._signed("tcbInfo", inner, "tcb-signature")

    def _platform_levels(self, body: Body, version: int) -> list[dict[str, Any]]:
        status = self.spec.get("status", "UpToDate")
        ask = 1 if self.lie == "tcb-level" else 0
        components = list(self.facts.components)
        tdx = list(body.svn)
        rows = []
        if status.startswith("TDRelaunchAdvised"):
            needed = status.endswith("ConfigurationNeeded")
            newest = [0, 0, *body.svn2[2:]]
            status = "OutOfDateConfigurationNeeded" if needed else "OutOfDate"
            rows.append((components, newest, "ConfigurationNeeded" if needed else "UpToDate"))
        elif status != "UpToDate":
            rows.append(([components[0] + 1, *components[1:]], tdx, "UpToDate"))
        low = [0, 0, *tdx[2:]] if tdx else tdx
        rows.append(([components[0] + ask, *components[1:]], low, status))
        return [
            self._level(_platform_tcb(sgx, more, self.facts.pcesvn, version), verdict) for sgx, more, verdict in rows
        ]

    def _level(self, tcb: dict[str, Any], status: str) -> dict[str, Any]:
        known = status != "UpToDate" or "advisories" in self.spec
        row = {"tcb": tcb, "tcbDate": zulu(AT - timedelta(days=90 if status == "UpToDate" else 900))}
        row["tcbStatus"] = status
        return row | ({"advisoryIDs": self.spec.get("advisories", ["INTEL-SA-00001"])} if known else {})

    def _ladder(self, isvsvn: int, status: str, newest: bytes = b"") -> list[dict[str, Any]]:
        top = newest[0] if newest and newest[0] > isvsvn else isvsvn + 1
        rows = [] if status == "UpToDate" else [self._level({"isvsvn": top}, "UpToDate")]
        return [*rows, self._level({"isvsvn": isvsvn}, status)]

    def _identity(self) -> bytes:
        name, product, signer = QE[self.tee]
        inner = {"id": name, "version": 2, **self._dates("identity"), "miscselect": "00000000"}
        inner |= {"miscselectMask": "FFFFFFFF", "attributes": "11" + "00" * 15, "attributesMask": QE_MASK}
        inner |= {"mrsigner": signer.upper(), "isvprodid": product}
        inner["tcbLevels"] = self._ladder(self.spec.get("qe_isvsvn", 6), self.spec.get("qe_status", "UpToDate"))
        return self._signed("enclaveIdentity", inner, "identity-signature")

    def forged(self, body: Body, more: tuple[Document, ...] = ()) -> Forged:
        """The quote over ``body`` with collateral and anchors."""
        found = self.collateral(body) + Collateral(documents=more)
        root = anchors.from_certificate(self.tee, self.vendor.root.certificate, simulated=True)
        return Forged(self.tee, self.quote(body), found, anchors.Anchors((root,)), AT)


def _platform_tcb(sgx: list[int], tdx: list[int], pcesvn: int, version: int) -> dict[str, Any]:
    if version == 2:
        return {f"sgxtcbcomp{index:02}svn": svn for index, svn in enumerate(sgx, 1)} | {"pcesvn": pcesvn}
    found: dict[str, Any] = {"sgxtcbcomponents": [{"svn": svn} for svn in sgx], "pcesvn": pcesvn}
    return found | ({"tdxtcbcomponents": [{"svn": svn} for svn in tdx]} if tdx else {})


def report_datas(count: int) -> Iterator[bytes]:
    """``count`` distinct values of 64 bytes."""
    return (os.urandom(64) for _ in range(count))
