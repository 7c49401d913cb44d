"""The real TPM cases as blobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastness.claims.genuine import Genuine, vouch
from fastness.pki import anchors
from fastness.pki.anchors import Anchors
from fastness.tee import tpm
from fastness.wire import x509
from vectors import Case

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = {"attest": "quote", "signature": "signature", "pcrs": "pcrs", "event_log": "event_log",
         "hcl_report": "hcl_report", "td_quote": "td_quote"}  # fmt: skip


def blob(case: Case) -> bytes:
    parts = {NAMES[role]: data for role, data in case.files.items() if role in NAMES}
    return tpm.assemble(parts | {"ak": case.files.get("ak_public", case.files["ak_pub"])})


def owner(blob: bytes) -> Anchors:
    """The AK named by whoever asks: what is left to test without an endorsement."""
    return Anchors((anchors.from_key("tpm", "the owner's", tpm.parse(blob).key),))


@dataclass(frozen=True)
class Around:
    """Stands for verified hardware evidence: verifying it is not this TEE's business."""

    raw: bytes


def around(data: bytes) -> Genuine[object]:
    return vouch(Around(data), anchors=(), at=WHEN)


KEY_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
              "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


def certificate(
    key: x509.PublicKey, usage: str = "2.23.133.8.1", bits: tuple[str, ...] = ()
) -> tuple[x509.Certificate, x509.Certificate]:
    """(root, leaf for ``key``), valid in 2025 and 2026; ``bits`` of KeyUsage are set, none: it has no KeyUsage."""
    from cryptography import x509 as builder
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

    signer = ec.generate_private_key(ec.SECP256R1())
    name = builder.Name([builder.NameAttribute(builder.oid.NameOID.COMMON_NAME, "test TPM CA")])

    def made(subject: builder.Name, public: object, ca: bool) -> x509.Certificate:
        draft = (
            builder.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(public)  # type: ignore
            .serial_number(7).not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
            .add_extension(builder.BasicConstraints(ca, None), critical=True)
        )  # fmt: skip
        if not ca:
            draft = draft.add_extension(builder.ExtendedKeyUsage([builder.ObjectIdentifier(usage)]), critical=False)
        if not ca and bits:
            draft = draft.add_extension(builder.KeyUsage(**{name: name in bits for name in KEY_USAGES}), critical=True)
        return x509.certificate(draft.sign(signer, SHA256()).public_bytes(Encoding.DER))

    return made(name, signer.public_key(), True), made(builder.Name([]), load_der_public_key(key.raw), False)
