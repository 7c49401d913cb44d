"""SGX and TDX: for single conditions of the verifiers, the smallest evidence that tells whether they stand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from dcap_tools import FORGES, judge, made

from fastness.claims.finding import Outcome
from fastness.errors import MalformedEvidence, MissingCollateral, NotGenuine
from fastness.forge import dcap, tdx
from fastness.forge import dcap_vendor as fake
from fastness.forge.dcap import Maker
from fastness.forge.model import Forged
from fastness.pki.anchors import Anchors, from_certificate, from_key
from fastness.tee import Document, load
from fastness.tee.dcap import endorse, layout, pck
from fastness.wire import x509

BOTH = pytest.mark.parametrize("tee", ["sgx", "tdx"])
NAMES = {"tcb-info": "tcbInfo", "qe-identity": "enclaveIdentity"}
RSA = rsa.generate_private_key(65537, 2048)


def failure(forged: Forged) -> Any:
    with pytest.raises((NotGenuine, MissingCollateral)) as error:
        judge(forged)
    return error.value


def refused(forged: Forged) -> str:
    return str(failure(forged).check).partition(".")[2]


def pool(forged: Forged, *certificates: x509.Certificate) -> Forged:
    """``forged`` with other certificates before its own."""
    own = forged.collateral
    return replace(forged, collateral=own._replace(certificates=(*certificates, *own.certificates)))


def signed(kind: str, inner: Any, key: Any = None, source: str = "") -> Document:
    raw = json.dumps(inner, separators=(",", ":")).encode()
    signature = fake.sign(key or fake.vendor().signer.key, raw).hex()
    return Document(kind, b'{"%b":%b,"signature":"%b"}' % (NAMES[kind].encode(), raw, signature.encode()), source)


def inner_of(forged: Forged, kind: str) -> Any:
    return json.loads(forged.collateral.of(kind)[0].data)[NAMES[kind]]


def documents(forged: Forged, kind: str, *found: Document) -> Forged:
    """``forged`` with these documents of one kind in the place of its own."""
    others = tuple(item for item in forged.collateral.documents if item.kind != kind)
    return replace(forged, collateral=forged.collateral._replace(documents=(*found, *others)))


def rewritten(forged: Forged, kind: str, edit: Callable[[Any], None], key: Any = None) -> Forged:
    """``forged`` with one document edited and signed anew."""
    inner = inner_of(forged, kind)
    edit(inner)
    return documents(forged, kind, signed(kind, inner, key))


# the chain of the PCK, and its key


@BOTH
def test_a_root_that_was_named_by_its_key_alone(tee: str) -> None:
    forged = FORGES[tee].make({})
    assert judge(replace(forged, anchors=Anchors((from_key(tee, "root", fake.vendor().root.certificate.key),))))


def under(tee: str, ca: fake.Party, root: fake.Party, **leaf: Any) -> Forged:
    """A quote of a PCK under ``ca``; of ``root`` and whoever is above it nothing is taken from the quote."""
    maker = Maker(tee, {})
    maker.ca, maker.root = ca, root
    maker.pck = fake.issue(pck.LEAF, ca, extension=fake.extension(maker.facts), **leaf)
    return maker.forged(FORGES[tee].body({}))


@BOTH
def test_nobody_stands_above_the_root(tee: str) -> None:
    above = fake.issue("Somebody", path=2)
    root = fake.issue(pck.ROOT, above, path=1)
    forged = under(tee, fake.issue(pck.PLATFORM_CA, root, path=0), root)
    named = Anchors((*forged.anchors.items, from_certificate(tee, above.certificate)))
    assert refused(replace(forged, anchors=named)) == "pck"


@BOTH
def test_a_pck_with_an_rsa_key_is_none(tee: str) -> None:
    vendor = fake.vendor()
    maker = Maker(tee, {})
    own = maker.pck
    maker.pck = replace(own, certificate=fake.issue(pck.LEAF, vendor.platform, private=RSA,  # type: ignore[arg-type]
                                                    extension=fake.extension(maker.facts)).certificate)  # fmt: skip
    assert refused(maker.forged(FORGES[tee].body({}))) == "pck"


def test_only_keys_on_p256_sign_documents_and_quoting_enclaves() -> None:
    for private in (RSA, ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256K1())):
        certificate = fake.issue(pck.TCB_SIGNING, fake.vendor().root, private=private).certificate  # type: ignore[arg-type]
        assert endorse.p256(certificate) is None
    assert endorse.p256(fake.vendor().signer.certificate) is not None


@BOTH
def test_an_attestation_key_off_its_curve_signs_nothing(tee: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "point", lambda key: bytes(63) + b"\1")
    assert refused(FORGES[tee].make({})) == "signature"


@BOTH
def test_of_pcks_beside_a_quote_the_one_that_signed_counts(tee: str) -> None:
    ca, facts = fake.vendor().platform, dcap.facts({})
    others = [
        fake.issue(pck.LEAF, ca, extension=fake.extension(facts), private=key).certificate  # type: ignore[arg-type]
        for key in (RSA, fake.key())
    ]
    assert judge(pool(FORGES[tee].make({"certification": layout.PPID_PLAIN}), *others))


@pytest.mark.parametrize(
    ("tee", "other", "kind", "told"),
    [("sgx", "tdx", "qe-identity", "TD_QE"), ("tdx", "sgx", "qe-identity", "QE"),
     ("sgx", "tdx", "tcb-info", "TDX"), ("tdx", "sgx", "tcb-info", "SGX")],
)  # fmt: skip
def test_what_is_missing_is_told_beside_what_there_was(tee: str, other: str, kind: str, told: str) -> None:
    forged, theirs = FORGES[tee].make({}), FORGES[other].make({}).collateral.of(kind)
    assert failure(documents(forged, kind)).where == "supplied: none"
    assert failure(documents(forged, kind, *theirs, *theirs)).where.split(" ")[:2] == ["supplied:", told]


# the SGX extension

FACTS = dcap.facts({})
OID = fake._oid(pck.EXTENSION)


def row(arcs: str, value: bytes) -> bytes:
    body = fake._oid(f"{pck.EXTENSION}.{arcs}") + value
    return b"\x30\x81" + bytes((len(body),)) + body if 0x80 <= len(body) < 0x100 else fake._tlv(0x30, body)


def read(changed: dict[str, bytes], *more: bytes) -> pck.Pck:
    """The extension with some rows in other words, and more of them behind."""
    rows = {
        "1": row("1", fake._tlv(4, FACTS.ppid)), "2": row("2", fake._tlv(0x30, tcb())),
        "3": row("3", fake._tlv(4, FACTS.pceid)), "4": row("4", fake._tlv(4, FACTS.fmspc)),
        "5": row("5", b"\x0a\x01\x01"), "6": row("6", fake._tlv(4, bytes(16))),
    }  # fmt: skip
    extension = fake._tlv(0x30, b"".join((rows | changed).values()) + b"".join(more))
    return pck.read(fake.issue(pck.LEAF, fake.vendor().platform, extension=extension).certificate)


def tcb(**changed: bytes) -> bytes:
    rows = {f"c{number}": row(f"2.{number}", b"\x02\x01\x03") for number in range(1, 17)}
    rows |= {"pce": row("2.17", b"\x02\x01\x0d"), "cpu": row("2.18", fake._tlv(4, bytes(16)))}
    return b"".join((rows | changed).values())


def test_a_certificate_without_the_extension_is_no_pck() -> None:
    with pytest.raises(MalformedEvidence, match="SGX extension"):
        pck.read(fake.vendor().root.certificate)


def test_the_platform_instance_may_be_left_out_alone() -> None:
    options = row("7", fake._tlv(0x30, row("7.1", b"\x01\x01\xff")))
    assert read({"6": b"", "7": options}).platform_instance is None
    assert read({}).platform_instance == bytes(16)


FOREIGN = bytes.fromhex("060a2a864886f84d010d0204")
"""The identifier of FMSPC in another branch of Intel's: one of as many bytes."""


@pytest.mark.parametrize(
    ("changed", "more"),
    [
        ({"5": row("5", b"\x0a\x01\x03")}, b""),  # a type that is none
        ({}, fake._tlv(0x30, OID[:1] + bytes((len(OID) - 1,)) + OID[2:] + b"\x09")),  # an identifier without a value
        ({"4": fake._tlv(0x30, FOREIGN + fake._tlv(4, FACTS.fmspc))}, b""),  # another's field
        ({}, row("4", fake._tlv(4, bytes(6)))),  # a field twice
        ({}, fake._tlv(0x30, OID[:1] + bytes((len(OID) - 1,)) + OID[2:] + b"\x89\x05\x00")),  # an arc that goes on
        ({"2": row("2", fake._tlv(0x30, tcb(pce=row("2.17", b"\x02\x01\x0d\x07"))))}, b""),  # bytes behind the value
        ({"4": row("4", fake._tlv(0x0C, FACTS.fmspc))}, b""),  # another kind of value
        ({"4": row("4", fake._tlv(4, FACTS.fmspc + b"\0"))}, b""), ({"1": row("1", fake._tlv(4, bytes(15)))}, b""),
        ({"2": row("2", fake._tlv(0x30, tcb(c3=row("2.3", b"\x04\x01\x03"))))}, b""),  # an SVN that is no number
        ({"2": row("2", fake._tlv(0x30, tcb(more=row("2.3", b"\x02\x01\x04"))))}, b""),  # an SVN twice
        ({"2": row("2", fake._tlv(0x30, tcb(c3=row("2.3", b"\x02\x02\x00\x7f"))))}, b""),  # in two bytes for nothing
    ],
)  # fmt: skip
def test_the_sgx_extension_is_read_strictly(changed: dict[str, bytes], more: bytes) -> None:
    assert read({}).components == (3,) * 16
    with pytest.raises(MalformedEvidence):
        read(changed, more)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"\x02\x01\x7f", 127), (b"\x02\x02\x00\x80", 128), (b"\x02\x02\x00\xff", 255), (b"\x02\x02\x01\x00", None),
        (b"\x02\x01\x80", None), (b"\x02\x01\xff", None),
    ],
)  # fmt: skip
def test_svns_are_bytes(value: bytes, told: int | None) -> None:
    changed = {"2": row("2", fake._tlv(0x30, tcb(c3=row("2.3", value))))}
    if told is not None:
        assert read(changed).components[2] == told
    else:
        with pytest.raises(MalformedEvidence):
            read(changed)


def components(values: list[bytes], numbers: range = range(1, 17)) -> list[bytes]:
    return [row(f"2.{number}", value) for number, value in zip(numbers, values, strict=True)]


def test_svns_in_another_order_are_told_apart_by_their_identifiers() -> None:
    for first, form in ((1, b"\x02\x01%b"), (128, b"\x02\x02\x00%b")):
        rows = components([form % bytes((first + index,)) for index in range(16)])
        rest = [row("2.17", b"\x02\x01\x0d"), row("2.18", fake._tlv(4, bytes(16)))]
        for ordered in (rows, rows[::-1], [*rows[1:], rows[0]]):
            found = read({"2": row("2", fake._tlv(0x30, b"".join(ordered + rest)))})
            assert found.components == tuple(range(first, first + 16))


@pytest.mark.parametrize("value", [b"\x02\x01\x80", b"\x02\x02\x00\x7f"])
def test_sixteen_wrong_svns_are_no_better_than_one(value: bytes) -> None:
    wrong = tcb(**{f"c{number}": row(f"2.{number}", value) for number in range(1, 17)})
    with pytest.raises(MalformedEvidence):
        read({"2": row("2", fake._tlv(0x30, wrong))})


@pytest.mark.parametrize("cut", range(1, 19))
def test_svns_that_end_early(cut: int) -> None:
    last = b"".join(components([b"\x02\x01\x03"] * 16))[:-cut]
    with pytest.raises(MalformedEvidence):
        read({"2": b""}, row("2", fake._tlv(0x30, last)))


def test_fields_that_are_not_known_are_passed_over() -> None:
    assert read({}, row("9", b"\x05\x00")).fmspc == FACTS.fmspc
    more = tcb(zero=row("2.0", b"\x02\x01\x04"), next=row("2.19", b"\x05\x00"))
    assert read({"2": row("2", fake._tlv(0x30, more))}).components == (3,) * 16


def test_components_may_stand_in_any_order() -> None:
    rows = [row(f"2.{number}", bytes((2, 1, number))) for number in range(15, 0, -1)]
    rows += [
        row("2.17", b"\x02\x03\x00\xff\xff"),
        row("2.18", fake._tlv(4, bytes(16))),
        row("2.16", b"\x02\x02\x00\xff"),
    ]
    found = read({"2": row("2", fake._tlv(0x30, b"".join(rows)))})
    assert (found.components, found.pcesvn) == ((*range(1, 16), 255), 65535)


def options(head: bytes) -> bytes:
    """Options of 128 bytes behind ``head``."""
    flags = b"".join(row(f"7.{number}", b"\x01\x01\xff") for number in (1, 2, 3))
    filled = flags + row("7.9", fake._tlv(4, bytes(128 - len(flags) - len(row("7.9", b"")) - 2)))
    assert len(filled) == 128
    return row("7", head + filled)


def test_lengths_of_more_than_one_byte() -> None:
    assert read({"7": options(b"\x30\x81\x80")}).smt_enabled is True
    with pytest.raises(MalformedEvidence):
        read({"7": options(b"\x30\x80")})  # BER's indefinite length


# documents


@BOTH
@pytest.mark.parametrize("kind", NAMES)
def test_an_unreadable_document_was_altered_or_is_not_understood(tee: str, kind: str) -> None:
    """Whoever signed it, it counts for nothing; what is told is whether Intel did."""
    vendor = fake.vendor()
    check = "tcb-info" if kind == "tcb-info" else "identity"
    odd = signed(kind, {"version": 99}, source="odd.json")
    altered = signed(kind, {"version": 99}, fake.key(), source="altered.json")
    forged = FORGES[tee].make({})
    error = failure(documents(forged, kind, odd))
    assert (error.check, error.where) == (f"{tee}.{check}", "odd.json")
    assert "well-formed" in str(error)
    stranger = fake.issue(pck.TCB_SIGNING, vendor.root).certificate
    mixed = fake.issue(pck.TCB_SIGNING, vendor.root, private=RSA).certificate  # type: ignore[arg-type]
    for others in ((stranger,), (mixed,), (stranger, mixed)):
        assert refused(pool(documents(forged, kind, odd), *others)) == check
    assert refused(documents(forged, kind, altered)) == f"{'tcb' if kind == 'tcb-info' else 'identity'}-signature"
    assert failure(documents(forged, kind, odd, altered)).where == "odd.json"
    assert failure(documents(forged, kind, altered, odd)).where == "altered.json"


@BOTH
def test_an_unreadable_document_without_intels_signer_is_not_called_altered(tee: str) -> None:
    forged = documents(FORGES[tee].make({}), "tcb-info", signed("tcb-info", {"version": 99}))
    signer = fake.vendor().signer.certificate
    others = tuple(item for item in forged.collateral.certificates if item.raw != signer.raw)
    assert refused(replace(forged, collateral=forged.collateral._replace(certificates=others))) == "tcb-info"


@BOTH
def test_without_a_document_it_is_missing(tee: str) -> None:
    for kind, check in (("tcb-info", "tcb-info"), ("qe-identity", "identity")):
        assert refused(documents(FORGES[tee].make({}), kind)) == check


@BOTH
def test_of_documents_that_hold_the_highest_evaluation_counts(tee: str) -> None:
    """An older one, still within its dates, does not hide that the platform is out of date."""
    forged = FORGES[tee].make({"status": "OutOfDate"})
    older = inner_of(forged, "tcb-info")
    older["tcbEvaluationDataNumber"] -= 1
    older["tcbLevels"] = [{**older["tcbLevels"][-1], "tcbStatus": "UpToDate"}]
    own = forged.collateral.of("tcb-info")[0]
    for found in ((signed("tcb-info", older), own), (own, signed("tcb-info", older))):
        assert judge(documents(forged, "tcb-info", *found))[0].tcb_status == "OutOfDate"


@BOTH
@pytest.mark.parametrize(("kind", "check"), [("tcb-info", "tcb"), ("qe-identity", "identity")])
def test_of_documents_about_one_platform_sixteen_are_tried(tee: str, kind: str, check: str) -> None:
    forged = FORGES[tee].make({})
    own, altered = forged.collateral.of(kind)[0], signed(kind, inner_of(forged, kind), fake.key())
    assert judge(documents(forged, kind, *[altered] * 15, own))
    assert refused(documents(forged, kind, *[altered] * 16, own)) == f"{check}-signature"


@BOTH
def test_each_document_has_a_signer_of_its_own(tee: str) -> None:
    """That one signer is Intel's says nothing of another with its name."""
    stranger = fake.vendor(1).signer
    forged = rewritten(FORGES[tee].make({}), "qe-identity", lambda inner: None, stranger.key)
    assert refused(pool(forged, stranger.certificate)) == "chain"
    own = fake.issue(pck.TCB_SIGNING, fake.vendor().root)
    forged = rewritten(FORGES[tee].make({}), "qe-identity", lambda inner: None, own.key)
    assert judge(pool(forged, own.certificate))


def _first(forged: Forged, kind: str, edit: Callable[[Any], None]) -> Forged:
    """``forged`` whose first TCB level, which it reaches, is edited and signed anew."""
    return rewritten(forged, kind, lambda inner: edit(inner["tcbLevels"][0]))


@BOTH
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    "edit",
    [
        lambda level: level.update(tcbStatus="Fine"),
        lambda level: level.update(tcbDate="yesterday"),
        lambda level: level.pop("tcb"),
        lambda level: level.update(advisoryIDs=["INTEL SA"]),
        lambda level: level.update(advisoryIDs=[""]),
        lambda level: level.update(advisoryIDs=["A" * 41]),
        lambda level: level.update(advisoryIDs=[1]),
        lambda level: level.update(advisoryIDs=["A"] * 257),
    ],
    ids=["status", "date", "versions", "name", "empty", "long", "number", "many"],
)
def test_a_level_that_is_come_to_must_follow_its_specification(
    tee: str, kind: str, edit: Callable[[Any], None]
) -> None:
    error = failure(_first(FORGES[tee].make({}), kind, edit))
    assert error.check == f"{tee}.tcb-info" and "TCB levels" in error.what and error.hint


@BOTH
@pytest.mark.parametrize("svn", [True, 1.0, "1", 256, -1, None])
def test_a_component_is_a_number_of_one_byte(tee: str, svn: object) -> None:
    def edit(level: Any) -> None:
        level["tcb"]["sgxtcbcomponents"][3]["svn"] = svn

    assert refused(_first(FORGES[tee].make({}), "tcb-info", edit)) == "tcb-info"


@BOTH
def test_levels_below_the_one_that_is_reached_are_not_read(tee: str) -> None:
    for kind in NAMES:
        forged = rewritten(
            FORGES[tee].make({}), kind, lambda inner: inner["tcbLevels"].append("what Intel never wrote")
        )
        assert judge(forged)[0].tcb_status == "UpToDate"


@BOTH
def test_a_level_that_nobody_signed_is_an_altered_document(tee: str) -> None:
    forged = rewritten(
        FORGES[tee].make({}), "tcb-info", lambda inner: inner["tcbLevels"].insert(0, "free for all"), fake.key()
    )
    assert refused(forged) == "tcb-signature"


@BOTH
def test_the_altered_document_is_named(tee: str) -> None:
    forged = FORGES[tee].make({"lie": "tcb-signature"})
    info, identity = (forged.collateral.of(kind)[0] for kind in NAMES)
    named = (identity._replace(source="identity.json"), info._replace(source="info.json"))
    error = failure(replace(forged, collateral=forged.collateral._replace(documents=named)))
    assert error.where == "info.json"


@BOTH
@pytest.mark.parametrize("ca", ["platform", "processor"])
def test_where_the_missing_list_is_had(tee: str, ca: str) -> None:
    forged = FORGES[tee].make({"lie": "crl-missing", "ca": ca})
    module = load(tee)
    genuine = module.verify(module.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    assert f"?ca={ca}&" in next(item.hint for item in genuine.findings if item.check == f"{tee}.revocation")


# the TCB


def test_the_date_of_a_tcb_is_that_of_its_oldest_part() -> None:
    old = f"{fake.AT - timedelta(days=900):%Y-%m-%d}"
    for spec in ({"status": "OutOfDate"}, {"qe_status": "OutOfDate"}, {"module_status": "OutOfDate"}):
        assert str(made("tdx", **spec)[0].tcb_date).startswith(old)


def test_of_a_relaunch_the_launch_is_judged_first() -> None:
    forged = tdx.make({"td_report": "1.5", "lie": "tcb-level"})
    module = load("tdx")
    genuine = module.verify(module.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)
    told = next(item.actual for item in genuine.findings if item.check == "tdx.tcb-level")
    assert told == "no TCB level is reached by this platform"


def test_of_a_module_without_a_version_every_svn_counts() -> None:
    """TDX module 0 has no identity of its own: its SVN is one of the platform's components."""
    forged = tdx.make({"fields": {"tee_tcb_svn": "060003".ljust(32, "0")}})
    for least, outcome in ((6, None), (7, Outcome.FAILED)):

        def edit(inner: Any, least: int = least) -> None:
            inner["tcbLevels"][-1]["tcb"]["tdxtcbcomponents"][0]["svn"] = least

        assert judge(rewritten(forged, "tcb-info", edit))[1].get("tdx.tcb-level") is outcome


# TDX

SIGNER = "ab" * 48


def module(signer: str, version: int, **identity: Any) -> Forged:
    """A module of ``version`` signed by ``signer``; the base module is signed by zeros, as Intel's is."""
    svn = bytes((6, version, 3)).hex().ljust(32, "0")
    forged = tdx.make({"fields": {"tee_tcb_svn": svn, "mrsignerseam": signer}})

    def edit(inner: Any) -> None:
        inner["tdxModuleIdentities"][0] |= identity

    return rewritten(forged, "tcb-info", edit)


def test_a_module_is_held_against_the_identity_of_its_version() -> None:
    assert judge(module(SIGNER, 1, mrsigner=SIGNER.upper()))
    assert refused(module("00" * 48, 1, mrsigner=SIGNER.upper())) == "module"


@pytest.mark.parametrize("version", [0, 9])
def test_a_module_without_an_identity_is_held_against_the_base_module(version: int) -> None:
    assert refused(module(SIGNER, version, id="TDX_03")) == "module"


@pytest.mark.parametrize("xfam", [0x602E7 | 1 << 40, 0x602E6])
def test_xfam_of_unknown_or_missing_bits_cannot_be_told(xfam: int) -> None:
    found = made("tdx", fields={"xfam": xfam.to_bytes(8, "little").hex()})[1]
    assert found == {"tdx.attributes": Outcome.UNKNOWN}


@pytest.mark.parametrize(("born", "told"), [(0xC06F2, False), (0, False), (0xA06D0, True)])
def test_a_td_that_was_created_elsewhere_is_told(born: int, told: bool) -> None:
    where = (bytes(4) + born.to_bytes(4, "little") + bytes(4)).hex()
    found = made("tdx", td_report="1.5-extended", fields={"init_tee_fmspc": where})[1]
    assert found == ({"tdx.migrated": Outcome.NOTE} if told else {})
