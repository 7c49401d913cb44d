"""The quote container as a value: everything but the meaning of the body."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from fastness.errors import MalformedEvidence
from fastness.tee.dcap import certification, report
from fastness.tee.dcap import layout as at
from fastness.tee.dcap.certification import Certification
from fastness.wire.cursor import Cursor

MAX_QUOTE = 64 * 1024


class Quote(NamedTuple):
    """One DCAP quote.

    ``signed`` is the range the attestation key signs (header to body), ``certification`` the innermost certification
    data, ``padding`` the zero bytes after the end that some producers leave (TDX guests return the whole buffer).
    """

    version: int
    tee_type: int
    qe_svn: int
    pce_svn: int
    user_data: bytes
    body_type: int
    body: bytes
    body_offset: int
    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: report.Report
    qe_signature: bytes
    authentication: bytes
    certification: Certification
    padding: bytes

    @property
    def signature_offset(self) -> int:
        """Byte offset of the quote's signature."""
        return len(self.signed) + 4

    @property
    def qe_report_offset(self) -> int:
        """Byte offset of the quoting enclave's report."""
        return self.signature_offset + at.SIGNATURE_SIZE + at.KEY_SIZE + (at.CERTIFICATION.size * (self.version > 3))


def recognise(data: bytes, tee_type: int) -> bool:
    """Whether ``data`` starts like a quote of ``tee_type``: version, key type, TEE type and QE vendor."""
    if len(data) < at.HEADER_SIZE + at.REPORT_SIZE:
        return False
    version, kind, tee, _, _, vendor, _ = at.HEADER.unpack_from(data)
    return (
        version in (3, 4, 5)
        and kind in (2, 3)
        and vendor == at.INTEL_QE_VENDOR
        and tee == tee_type
        and not (version == 3 and tee_type)
    )


def parse(data: bytes, tee_type: int) -> Quote:
    """A quote of ``tee_type``.

    Raises:
        MalformedEvidence: another version, TEE, key type or QE vendor; a length that does not fit; non-zero reserved
            or trailing bytes.
    """
    if len(data) > MAX_QUOTE:
        raise MalformedEvidence("quote", 0, f"at most {MAX_QUOTE} bytes", len(data))
    cursor = Cursor(data)
    version, tee, qe_svn, pce_svn, user_data = _header(cursor.unpack(at.HEADER, "header"))
    if tee != tee_type or (version == 3 and tee):
        raise MalformedEvidence("header.tee_type", 4, f"0x{tee_type:x}", f"0x{tee:x} in a version {version} quote")
    body_type = _body_type(cursor, version, tee)
    body_offset = cursor.position
    body = cursor.take(at.BODY_SIZES[body_type], "body")
    signed = data[: cursor.position]
    size = cursor.little(4, "signature data size")
    inner = Cursor(cursor.take(size, "signature data"), len(signed) + 4)
    signature, key = inner.unpack(at.SIGNED_BY, "signature and attestation key")
    if version > 3:
        _outer(inner)
    offset = inner.offset
    qe_raw, qe_signature, length = inner.unpack(at.QE_PART, "QE report and signature")
    qe_report = report.parse(qe_raw, offset, "QE report")
    if length > at.MAX_AUTHENTICATION:
        raise MalformedEvidence("QE authentication data", inner.offset - 2, f"at most {at.MAX_AUTHENTICATION}", length)
    authentication = inner.take(length, "QE authentication data")
    certified = certification.parse(inner)
    inner.done("signature data")
    padding = cursor.rest()
    if padding.count(0) != len(padding):
        raise MalformedEvidence("quote", len(data) - len(padding), "end of input or zero padding", "other bytes")
    return Quote(
        version, tee, qe_svn, pce_svn, user_data, body_type, body, body_offset, signed, signature, key, qe_report,
        qe_signature, authentication, certified, padding,
    )  # fmt: skip


def _header(values: tuple[Any, ...]) -> tuple[int, int, int, int, bytes]:
    version, kind, tee, qe_svn, pce_svn, vendor, user_data = values
    if version not in (3, 4, 5):
        raise MalformedEvidence("header.version", 0, "3, 4 or 5", version)
    if kind != at.ECDSA_P256:
        raise MalformedEvidence("header.att_key_type", 2, "2 (ECDSA P-256)", kind)
    if vendor != at.INTEL_QE_VENDOR:
        raise MalformedEvidence("header.qe_vendor_id", 12, at.INTEL_QE_VENDOR.hex(), vendor.hex())
    return version, tee, qe_svn, pce_svn, user_data


def _body_type(cursor: Cursor, version: int, tee: int) -> int:
    sgx = tee == at.TEE_SGX
    if version < 5:
        return at.BODY_SGX if sgx else at.BODY_TD10
    offset = cursor.offset
    kind, size = cursor.unpack(at.BODY_HEAD, "body type and size")
    if kind not in at.BODY_SIZES or (kind == at.BODY_SGX) != sgx:
        raise MalformedEvidence("body type", offset, "1 (SGX)" if sgx else "2, 3 or 4 (TD)", kind)
    if size != at.BODY_SIZES[kind]:
        raise MalformedEvidence("body size", offset + 2, at.BODY_SIZES[kind], size)
    return int(kind)


def _outer(cursor: Cursor) -> None:
    offset = cursor.offset
    kind, size = cursor.unpack(at.CERTIFICATION, "certification data")
    if kind != at.QE_REPORT:
        raise MalformedEvidence("certification data type", offset, "6 (QE report)", kind)
    if size != cursor.remaining:
        raise MalformedEvidence("certification data size", offset + 2, cursor.remaining, size)


def unparse(quote: Quote) -> bytes:
    """The bytes ``quote`` was parsed from."""
    inner = b"".join(
        (
            quote.qe_report.raw, quote.qe_signature, len(quote.authentication).to_bytes(2, "little"),
            quote.authentication, at.CERTIFICATION.pack(quote.certification.kind, len(quote.certification.data)),
            quote.certification.data,
        )
    )  # fmt: skip
    if quote.version > 3:
        inner = at.CERTIFICATION.pack(at.QE_REPORT, len(inner)) + inner
    inner = quote.signature + quote.attestation_key + inner
    tee = 0 if quote.version == 3 else quote.tee_type
    head = at.HEADER.pack(
        quote.version, at.ECDSA_P256, tee, quote.qe_svn, quote.pce_svn, at.INTEL_QE_VENDOR, quote.user_data
    )
    if quote.version == 5:
        head += at.BODY_HEAD.pack(quote.body_type, len(quote.body))
    return head + quote.body + len(inner).to_bytes(4, "little") + inner + quote.padding


@lru_cache(maxsize=1)
def _names() -> tuple[tuple[str, int, int, str], ...]:
    return (
        ("version", 0, 2, "layout of the quote"),
        ("att_key_type", 2, 2, "2: ECDSA P-256"),
        ("tee_type", 4, 4, "0x00 SGX, 0x81 TDX"),
        ("qe_svn", 8, 2, "security version of the quoting enclave"),
        ("pce_svn", 10, 2, "security version of the provisioning enclave"),
        ("qe_vendor_id", 12, 16, "Intel's quoting enclave"),
        ("user_data", 28, 20, "first 16 bytes: QE identifier of the platform"),
    )


def show(quote: Quote, body: list[tuple[str, int, int, str]]) -> list[tuple[str, int, int, str]]:
    """Every field as (name, offset, size, meaning), the body's rows given."""
    start = quote.signature_offset
    qe = quote.qe_report_offset
    auth = qe + at.REPORT_SIZE + at.SIGNATURE_SIZE
    cert = auth + 2 + len(quote.authentication)
    rows = [*_names(), *body]
    if quote.version == 5:
        rows += [("body_type", 48, 2, "1 SGX, 2 TD 1.0, 3 TD 1.5, 4 TD 1.5 extended"), ("body_size", 50, 4, "bytes")]
    rows += [
        ("signature_data_size", start - 4, 4, "bytes"),
        ("signature", start, 64, "ECDSA P-256 over header and body, r ‖ s"),
        ("attestation_key", start + 64, 64, "x ‖ y, made by the quoting enclave"),
        *report.rows("qe.", qe),
        ("qe_signature", qe + at.REPORT_SIZE, 64, "ECDSA P-256 over the QE report by the PCK"),
        ("qe_auth_data", auth + 2, len(quote.authentication), "hashed with the attestation key into qe.report_data"),
        ("certification", cert + 6, len(quote.certification.data), f"type {quote.certification.kind}"),
    ]
    if quote.padding:
        rows.append(
            ("padding", cert + 6 + len(quote.certification.data), len(quote.padding), "zero bytes of the buffer")
        )
    return sorted(rows, key=lambda row: row[1])
