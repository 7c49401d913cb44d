"""Forged SNP reports under a fake AMD, one fake ARK per product line.

Keys of a spec, all optional: ``generation`` (milan, genoa, bergamo, turin, venice), ``cpuid`` (family, model,
stepping of another part of it, as Turin dense), ``product`` (in the leaf), ``version`` (2 to 5), ``key`` (``vcek``,
``vlek``), ``tcb`` (components of all four TCBs: ``boot_loader``, ``tee``, ``snp``, ``microcode``, ``fmc``),
``current``, ``committed``, ``reported``, ``launch`` (components that differ), ``policy`` and ``platform`` (bits by
name), ``vmpl``, ``guest_svn``, ``report_data``, ``measurement``, ``host_data``, ``chip_id`` (hexadecimal), ``masked``
(the host hides the chip id), ``masked_key`` (MASK_CHIP_KEY),
``mitigations``, ``crl`` (``good``, ``revoked``, ``stale``, ``forged``, ``none``), ``table`` (certificates in a table
behind the report), ``padded`` (zeros behind it), ``without`` (an extension of the leaf), ``extensions`` (raw values
by OID), ``wrapped`` (its hwID as an OCTET STRING), ``id_block`` (``author``, ``family_id``, ``image_id``,
``guest_svn``: launched with an ID block, which lies beside the report), and ``lie``: a key of :data:`LIES`. A lie is
one edit, with everything above it signed again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509 as builder
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from fastness.errors import UsageError
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchor, Anchors
from fastness.pki.keys import fingerprint
from fastness.tee import Collateral, Document
from fastness.tee.snp import identity, layout
from fastness.tee.snp.layout import Generation
from fastness.wire import x509

Spec = Mapping[str, Any]
AT = datetime(2026, 6, 1, tzinfo=UTC)
BORN, DIES = datetime(2024, 1, 1, tzinfo=UTC), datetime(2034, 1, 1, tzinfo=UTC)
LIES = {
    "signing-key": "snp.signing-key",
    "kind": "snp.signing-key",
    "leaf-key": "snp.leaf",
    "product": "snp.chain",
    "root": "snp.chain",
    "issuer": "snp.chain",
    "asvk-for-vcek": "snp.chain",
    "validity": "snp.validity",
    "line": "snp.line",
    "anchor-line": "snp.line",
    "chip-id": "snp.chip-id",
    "mask": "snp.chip-id",
    "leaf-tcb": "snp.leaf-tcb",
    "fmc": "snp.leaf-tcb",
    "signature": "snp.signature",
    "revocation": "snp.revocation",
    "tcb-order": "snp.tcb-order",
    "id-key": "snp.id-key",
    "id-signature": "snp.id-signature",
    "author-key": "snp.author-key",
    "author-signature": "snp.author-key",
    "id-digest": "snp.id-block",
    "id-policy": "snp.id-block",
    "id-family": "snp.id-block",
    "id-image": "snp.id-block",
    "id-svn": "snp.id-block",
}
"""Lie to the one check that stands between it and acceptance."""

_TCB = {"boot_loader": 9, "tee": 1, "snp": 23, "microcode": 84, "fmc": 2}
_CPUID = {"milan": (0x19, 0x01, 1), "genoa": (0x19, 0x11, 1), "bergamo": (0x19, 0xA0, 2), "turin": (0x1A, 0x02, 1),
          "venice": (0x1A, 0x50, 0)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Party:
    """A fake certificate authority, or a leaf."""

    key: ec.EllipticCurvePrivateKey
    certificate: builder.Certificate

    @property
    def value(self) -> x509.Certificate:
        """The certificate as our own parser reads it."""
        return x509.certificate(self.certificate.public_bytes(Encoding.DER))


def _name(text: str) -> builder.Name:
    return builder.Name([builder.NameAttribute(builder.NameOID.COMMON_NAME, text)])


def _party(name: str, issuer: Party | None, extensions: Mapping[str, bytes] | None = None, **options: Any) -> Party:
    key = ec.generate_private_key(options.get("curve", ec.SECP384R1)())
    made = (
        builder.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer.certificate.subject if issuer else _name(name))
        .public_key(key.public_key())
        .serial_number(options.get("serial", 7))
        .not_valid_before(BORN)
        .not_valid_after(options.get("until", DIES))
    )
    if extensions is None:
        made = made.add_extension(builder.BasicConstraints(ca=True, path_length=options.get("length")), critical=True)
    for oid, value in (extensions or {}).items():
        made = made.add_extension(builder.UnrecognizedExtension(builder.ObjectIdentifier(oid), value), critical=False)
    signer = options.get("signer") or (issuer.key if issuer else key)
    return Party(key, made.sign(signer, SHA384()))


def vendor(line: str, number: int = 0) -> tuple[Party, Party, Party]:
    """A fake AMD of ``line``: ARK, ASK, ASVK. Another ``number`` is another AMD with the same names."""
    return _vendor(line, number)


@cache
def _vendor(line: str, number: int) -> tuple[Party, Party, Party]:
    word = layout.LINES[line]
    ark = _party(f"ARK-{word}", None, serial=number + 1)
    return ark, _party(f"SEV-{word}", ark, length=0), _party(f"SEV-VLEK-{word}", ark, length=0, serial=8)


def _integer(value: int) -> bytes:
    body = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes((2, len(body))) + body


def _leaf(spec: Spec, generation: Generation, reported: Mapping[str, int], chip: bytes) -> Party:
    lie, vlek = spec.get("lie"), _signs_vlek(spec) != (spec.get("lie") == "kind")
    line = "genoa" if lie == "line" and generation.line == "milan" else "milan" if lie == "line" else generation.line
    ark, ask, asvk = vendor(line, 1 if lie == "root" else 0)
    issuer = asvk if vlek != (lie == "asvk-for-vcek") else ask
    word = "Rome" if lie == "product" else layout.LINES[line]
    spl = {**reported, **({"snp": reported["snp"] - 1} if lie == "leaf-tcb" else {})}
    if lie == "fmc":
        spl["fmc"] = reported.get("fmc", 0) + 1
    product = spec.get("product", f"{word}-B0").encode()
    extensions = {layout.OID_SPL[name]: _integer(value) for name, value in spl.items()}
    extensions[layout.OID_PRODUCT] = bytes((0x16, len(product))) + product
    if vlek:
        extensions[layout.OID_CSP] = b"\x16\x08FakeCloud"[:2] + b"FakeClou"
    else:
        hwid = bytes((chip[0] ^ 1,)) + chip[1:] if lie == "chip-id" else chip
        extensions[layout.OID_HWID] = bytes((4, len(hwid))) + hwid if spec.get("wrapped") else hwid
    extensions.pop(spec.get("without", ""), None)
    raw = spec.get("extensions", {})
    extensions |= {oid: bytes.fromhex(item) if isinstance(item, str) else item for oid, item in raw.items()}
    options: dict[str, Any] = {"curve": ec.SECP256R1 if lie == "leaf-key" else ec.SECP384R1}
    if lie == "validity":
        options["until"] = AT - timedelta(seconds=1)
    if lie == "issuer":
        options["signer"] = ark.key
    return _party("SEV-VLEK" if vlek else "SEV-VCEK", issuer, extensions, **options)


def _signs_vlek(spec: Spec) -> bool:
    return bool(spec.get("key", "vcek") == "vlek")


def _tcb(generation: Generation, values: Mapping[str, int]) -> bytes:
    raw = bytearray(8)
    for name, index in generation.tcb.items():
        raw[index] = values[name]
    return bytes(raw)


def _flags(given: Mapping[str, bool], bits: Mapping[str, int]) -> int:
    return sum(1 << bits[name] for name, on in given.items() if on)


_NONE = "00" * 16


def _body(spec: Spec, generation: Generation, tcbs: Mapping[str, bytes], chip: bytes) -> bytes:
    version, lie = spec.get("version", 3), spec.get("lie")
    policy, named = _policy(spec), _identity(spec) or {}
    author, digests = bool(named.get("author")), _digests(named)
    platform = _flags({"smt": True, "ecc": True, "alias_check_complete": True, **spec.get("platform", {})},
                      layout.PLATFORM_BITS)  # fmt: skip
    signing = layout.NO_KEY if lie == "signing-key" else layout.VLEK if _signs_vlek(spec) else layout.VCEK
    masked = bool(spec.get("masked_key")) or lie == "mask"
    family, model, stepping = spec.get("cpuid", _CPUID[spec.get("generation", "genoa")]) if version >= 3 else (0, 0, 0)
    launch, current = spec.get("mitigations", (11, 11)) if version >= 5 else (0, 0)
    shown = bytes(64) if spec.get("masked") else chip.ljust(64, b"\0")
    return layout.REPORT.pack(
        version, spec.get("guest_svn", named.get("guest_svn", 0)), policy, bytes.fromhex(named.get("family_id", _NONE)),
        bytes.fromhex(named.get("image_id", _NONE)), spec.get("vmpl", 0), 1, tcbs["current"],
        platform, signing << 2 | masked << 1 | author, bytes.fromhex(spec.get("report_data", "d4" * 64)),
        bytes.fromhex(spec.get("measurement", "3e" * 48)), bytes.fromhex(spec.get("host_data", "00" * 32)), *digests,
        os.urandom(32), b"\xff" * 32, tcbs["reported"], family, model, stepping, shown, tcbs["committed"],
        29, 55, 1, 29, 55, 1, tcbs["launch"], launch, current,
    )  # fmt: skip


def _policy(spec: Spec) -> int:
    return layout.POLICY_ONE | 1 << 16 | _flags(spec.get("policy", {}), layout.POLICY_BITS)


def _identity(spec: Spec) -> Spec | None:
    """How the guest was identified at launch; a lie about it implies that it was."""
    lie = spec.get("lie") or ""
    if "id_block" not in spec and not lie.startswith(("id-", "author-")):
        return None
    return {"identified": True, "author": lie.startswith("author-"), **spec.get("id_block", {})}


@cache
def owner_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A key of a guest's owner, or of a stranger."""
    return ec.generate_private_key(ec.SECP384R1())


def _digests(named: Spec) -> tuple[bytes, bytes]:
    keys = ("id" if named.get("identified") else "", "author" if named.get("author") else "")
    found = [
        hashlib.sha384(identity.key_bytes(owner_key(key).public_key())).digest() if key else bytes(48) for key in keys
    ]
    return found[0], found[1]


def _beside(spec: Spec) -> tuple[Document, ...]:
    """ID block and authentication; the lie is one edit of what the owner signed, or another key of one of them."""
    named, lie = _identity(spec), spec.get("lie") or ""
    if named is None:
        return ()
    told = {"family_id": named.get("family_id", _NONE), "image_id": named.get("image_id", _NONE)}
    told |= {name: "5e" * 16 for name in told if lie == f"id-{name.removesuffix('_id')}"}
    block, proof = identity.make_id_block(
        bytes.fromhex("5e" * 48 if lie == "id-digest" else spec.get("measurement", "3e" * 48)),
        _policy(spec) ^ (lie == "id-policy") << 16,
        owner_key("stranger" if lie == "id-key" else "id"),
        author=owner_key("stranger" if lie == "author-key" else "author") if named.get("author") else None,
        guest_svn=named.get("guest_svn", 0) + (lie == "id-svn"),
        **{name: bytes.fromhex(value) for name, value in told.items()},
    )
    for name, start in (("id-signature", 0x40), ("author-signature", 0x680)):
        if lie == name:
            proof = proof[:start] + bytes((proof[start] ^ 1,)) + proof[start + 1 :]
    return Document(identity.BLOCK, block), Document(identity.AUTHENTICATION, proof)


def _sign(body: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    r, s = utils.decode_dss_signature(key.sign(body, ec.ECDSA(SHA384())))
    return body + r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(368)


def _crl(spec: Spec, ark: Party, ask: Party) -> tuple[x509.Crl, ...]:
    kind = "revoked" if spec.get("lie") == "revocation" else spec.get("crl", "good")
    if kind == "none":
        return ()
    made = builder.CertificateRevocationListBuilder().issuer_name(ark.certificate.subject).last_update(BORN)
    made = made.next_update(AT - timedelta(days=1) if kind == "stale" else DIES)
    serials = [ask.certificate.serial_number] if kind == "revoked" else [0, 99]
    for serial in serials:
        if serial:
            row = builder.RevokedCertificateBuilder().serial_number(serial).revocation_date(BORN).build()
            made = made.add_revoked_certificate(row)
    signed = made.sign(ask.key if kind == "forged" else ark.key, SHA384())
    return (x509.crl(signed.public_bytes(Encoding.DER)),)


def _table(parts: list[tuple[str, bytes]]) -> bytes:
    """A certificate table (GHCB 2.0, 4.1.8.1) of (kind, DER)."""
    guids = {kind: bytes.fromhex(guid) for guid, kind in layout.TABLE.items()}
    offset = layout.ENTRY_SIZE * (len(parts) + 1)
    head, data = b"", b""
    for kind, der in parts:
        head += guids[kind] + (offset + len(data)).to_bytes(4, "little") + len(der).to_bytes(4, "little")
        data += der
    return head + bytes(layout.ENTRY_SIZE) + data


class Maker:
    """One fake machine; :meth:`report` signs cheaply, so that many distinct reports are fast."""

    def __init__(self, spec: Spec) -> None:
        if spec.get("lie") not in (None, *LIES):
            raise UsageError(f"no lie is called {spec['lie']!r}", hint="one of " + ", ".join(LIES))
        self.spec = spec
        wanted = spec.get("generation", "genoa")
        names = {item.name: item for item in layout.GENERATIONS}
        if wanted not in names:
            raise UsageError(f"no SNP generation is called {wanted!r}", hint="one of " + ", ".join(names))
        self.generation = names[wanted]
        base = {**_TCB, **spec.get("tcb", {})}
        values = {name: {**base, **spec.get(name, {})} for name in ("current", "reported", "committed", "launch")}
        if spec.get("lie") == "tcb-order":
            values["committed"]["microcode"] -= 1
        self.tcbs = {name: _tcb(self.generation, value) for name, value in values.items()}
        self.chip = bytes.fromhex(spec["chip_id"]) if "chip_id" in spec else os.urandom(self.generation.hwid_size)
        reported = {name: values["reported"][name] for name in self.generation.tcb}
        self.leaf = _leaf(spec, self.generation, reported, self.chip)

    def report(self, **changed: Any) -> bytes:
        """A signed report of 1184 bytes; ``changed`` are keys of the spec."""
        body = _body({**self.spec, **changed}, self.generation, self.tcbs, self.chip)
        key = ec.generate_private_key(ec.SECP384R1()) if self.spec.get("lie") == "signature" else self.leaf.key
        return _sign(body, key)

    def forged(self) -> Forged:
        """The report with its collateral and anchors."""
        spec, line = self.spec, self.generation.line
        ark, ask, asvk = vendor(line)
        root = ark.value
        named = "turin" if spec.get("lie") == "anchor-line" else line
        pin = Anchor("snp", f"fake ARK-{line}", fingerprint(root.key), "forge", named, simulated=True, certificate=root)
        lists = _crl(spec, ark, asvk if _signs_vlek(spec) else ask)
        used: tuple[x509.Certificate, ...] = (self.leaf.value, ask.value, asvk.value, root)
        if spec.get("lie") == "line":
            other = vendor("genoa" if line == "milan" else "milan")
            pins = (pin, Anchor("snp", "other", fingerprint(other[0].value.key), "forge", simulated=True))
            return Forged(
                "snp", self.report(), Collateral((*used, *(item.value for item in other)), lists), Anchors(pins), AT
            )
        if spec.get("lie") == "root":
            used = (self.leaf.value, *(item.value for item in vendor(line, 1)))
        evidence = self.report() + bytes(spec.get("padded", 0))
        if spec.get("table"):
            kinds = ("vlek" if _signs_vlek(spec) else "vcek", "ask", "ark")
            chain = (used[0], asvk.value if _signs_vlek(spec) else ask.value, root)
            evidence += _table([(kind, item.raw) for kind, item in zip(kinds, chain, strict=True)])
            used = ()
        return Forged("snp", evidence, Collateral(used, lists, _beside(spec)), Anchors((pin,)), AT)


def make(spec: Spec) -> Forged:
    """A forged report with its collateral and anchors."""
    return Maker(spec).forged()
