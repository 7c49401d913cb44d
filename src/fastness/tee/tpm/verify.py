"""Verification of a TPM quote (TCG TPM 2.0 Library, Parts 1 and 2; TCG PC Client Platform Firmware Profile).

Contradictions come first: what no endorsement could mend. Parsing has checked magic, type and sizes.

1. The AK signed the quote: RSASSA, RSAPSS or ECDSA with SHA-256, 384 or 512, as its public area allows.
2. The AK is one that signs nothing but what its TPM made: restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin.
3. The register values supplied are exactly those that the signed selection names, in a bank better than SHA-1.
4. pcrDigest is the hash over those values, in the order of the selection.
5. The event log, where there is one, replays to the quoted values, or to where systemd goes on from by words of its
   own, and its texts are those that were measured.
6. Somebody vouches for the AK: :mod:`fastness.tee.tpm.trust`.

The nonce in extraData is the challenger's to compare: it is the claim ``report_data``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from fastness.claims.finding import Finding, Outcome, Where
from fastness.claims.genuine import Genuine
from fastness.claims.genuine import vouch as say_genuine
from fastness.errors import MalformedEvidence, NotGenuine
from fastness.pki import keys
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral
from fastness.tee.tpm import events, trust
from fastness.tee.tpm import layout as at
from fastness.tee.tpm.evidence import Evidence
from fastness.wire import eventlog

_Hash = SHA256 | SHA384 | SHA512
_HASHES: dict[int, _Hash] = {0x000B: SHA256(), 0x000C: SHA384(), 0x000D: SHA512()}


@dataclass(frozen=True, slots=True)
class Proven:
    """Evidence with what verification worked out.

    ``way`` the AK is trusted, ``bank`` evaluated, registers ``replayed`` by the log, ``gce`` what Google's AK
    certificate says of the instance.
    """

    evidence: Evidence
    way: str
    bank: str
    replayed: tuple[int, ...]
    gce: Mapping[str, Any]

    @property
    def raw(self) -> bytes:
        """The evidence as received."""
        return self.evidence.raw


def verify(
    evidence: Evidence,
    collateral: Collateral,
    anchors: Anchors,
    *,
    at: datetime,
    within: tuple[Genuine[object], ...] = (),
) -> Genuine[Proven]:
    """Genuine TPM evidence, up to an anchor of ``tpm`` or of the hardware evidence in ``within``.

    Raises:
        NotGenuine: a step above does not hold.
        MissingCollateral: what would vouch for the AK is named and absent (``tpm.ak-trust``), or an issuer is
            (``tpm.chain``).
    """
    hashing = signing_hash(evidence)  # (1)
    _attributes(evidence)  # (2)
    bank = _selection(evidence)  # (3)
    _digest(evidence, hashing)  # (4)
    replayed, seen = _log(evidence, bank)  # (5)
    try:
        vouched = trust.vouch(evidence, collateral, anchors, at, within)  # (6)
    except MalformedEvidence as error:
        raise NotGenuine("tpm.chain", f"an endorsement cannot be read: {error.what}", where=error.where) from None
    findings = [_answered(evidence, vouched.way)]
    if not evidence.quote.safe:
        text = "the clock may have gone back since it was last saved"
        findings.append(Finding("tpm.clock", Outcome.NOTE, "safe", text, (Where.of(evidence.spans["clock"]),)))
    return say_genuine(
        Proven(evidence, vouched.way, bank, replayed, vouched.gce),
        anchors=vouched.anchors,
        findings=(*findings, *seen, *vouched.findings),
        at=at,
        within=vouched.within,
    )


def signing_hash(evidence: Evidence) -> _Hash:
    """Step 1: the hash that the holding signature was made with.

    Raises:
        NotGenuine: ``tpm.signature``.
    """
    key, signature, ak = keys.load(evidence.key), evidence.signature, evidence.ak
    scheme = signature.scheme or (ak.scheme if ak is not None else 0)
    number = signature.hash or (ak.scheme_hash if ak is not None else 0)
    if number == at.ALG_SHA1:
        raise NotGenuine(
            "tpm.signature",
            "the quote is signed over SHA-1, which no longer tells one text from another",
            where=str(evidence.spans["signature"]),
            hint="quote with SHA-256: `tpm2_quote -g sha256`, or an attestation key made for it",
        )
    fits = ak is None or not ak.scheme or (scheme, number) == (ak.scheme, ak.scheme_hash)
    chosen = [hashing for key, hashing in _HASHES.items() if number in (0, key)]
    for hashing in chosen if fits else ():
        if _holds(key, scheme, hashing, signature.value, evidence.quote.raw):
            return hashing
    raise NotGenuine(
        "tpm.signature",
        "the quote is not signed by the attestation key",
        where=str(evidence.spans["signature"]),
        hint="quote, signature and key are of different quotes, or were altered on the way",
    )


def _holds(key: keys.Key, scheme: int, hashing: _Hash, signature: bytes, data: bytes) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        half = len(signature) // 2
        if scheme not in (0, at.ALG_ECDSA) or len(signature) % 2:
            return False
        r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        digest = hashlib.new(hashing.name, data).digest()
        return keys.verify_ecdsa(key, r, s, digest, hashing)
    if not isinstance(key, rsa.RSAPublicKey) or scheme == at.ALG_ECDSA:
        return False
    paddings: list[padding.AsymmetricPadding] = []
    if scheme in (0, at.ALG_RSASSA):
        paddings.append(padding.PKCS1v15())
    if scheme in (0, at.ALG_RSAPSS):
        paddings.append(padding.PSS(padding.MGF1(hashing), padding.PSS.AUTO))
    return any(_rsa(key, signature, data, chosen, hashing) for chosen in paddings)


def _rsa(
    key: rsa.RSAPublicKey,
    signature: bytes,
    data: bytes,
    chosen: padding.AsymmetricPadding,
    hashing: _Hash,
) -> bool:
    try:
        key.verify(signature, data, chosen, hashing)
    except (InvalidSignature, ValueError):
        return False
    return True


def _attributes(evidence: Evidence) -> None:
    if evidence.ak is None:
        return
    lacking = [name for name in at.AK_ATTRIBUTES if not evidence.ak.has(name)]
    if lacking or evidence.ak.has("decrypt"):
        raise NotGenuine(
            "tpm.ak-attributes",
            f"the key is no attestation key: {'lacks ' + ', '.join(lacking) if lacking else 'it also decrypts'}",
            where=str(evidence.spans["ak"]),
            hint="a key that is not restricted signs any bytes, a made-up quote too: create a restricted signing key",
        )


def _answered(evidence: Evidence, way: str) -> Finding:
    """Who answers for the attributes. A certificate, an anchor and runtime data name the bare key: the public area
    beside it is the evidence's own word. Only an activated credential ties all of it to the TPM."""
    wanted = ", ".join(at.AK_ATTRIBUTES)
    if way == "credential":
        return Finding("tpm.ak-attributes", Outcome.HELD, wanted)
    said = "the bare key came along" if evidence.ak is None else "the public area says so, unsigned"
    return Finding("tpm.ak-attributes", Outcome.NOTE, wanted, f"{said}: whoever vouches for the key answers for them")


def _selection(evidence: Evidence) -> str:
    """The evaluated bank: the strongest that the quote selects."""
    signed = {bank: indices for bank, indices in evidence.quote.selection if indices}
    supplied = {bank: tuple(sorted(registers)) for bank, registers in evidence.pcrs.items() if registers}
    if signed != supplied:
        raise NotGenuine(
            "tpm.pcr-selection",
            f"the quote is over {_words(signed)}; the values supplied are of {_words(supplied)}",
            where=str(evidence.spans["selection"]),
            hint="supply the values of exactly the registers that were quoted; nothing else is signed",
        )
    best = max(signed, default=at.ALG_SHA1)
    if best == at.ALG_SHA1:
        raise NotGenuine(
            "tpm.bank",
            "the quote covers no register of a bank better than SHA-1",
            where=str(evidence.spans["selection"]),
            hint="quote the SHA-256 bank",
        )
    return at.BANKS[best][0]


def _words(selection: dict[int, tuple[int, ...]]) -> str:
    parts = [f"{at.BANKS[bank][0]} {','.join(map(str, indices))}" for bank, indices in selection.items()]
    return " and ".join(parts) or "no register"


def _digest(evidence: Evidence, hashing: _Hash) -> None:
    values = [evidence.pcrs[bank][index] for bank, indices in evidence.quote.selection for index in indices]
    if hashlib.new(hashing.name, b"".join(values)).digest() != evidence.quote.digest:
        raise NotGenuine(
            "tpm.pcr-digest",
            "the register values are not those that were quoted",
            where=str(evidence.spans["digest"]),
            hint="registers changed between quote and reading, or were altered on the way: quote and read again",
        )


def _log(evidence: Evidence, bank: str) -> tuple[tuple[int, ...], list[Finding]]:
    """The quoted registers that the log reaches, and what it is silent about."""
    if evidence.log is None:
        return (), [
            Finding("tpm.event-log", Outcome.NOTE, actual="no event log came along: registers are bare digests")
        ]
    registers = evidence.pcrs[at.BANK_IDS[bank]]
    events.check(evidence.log)
    # older kernels hand out a log of SHA-1 alone: it says nothing, as if absent
    if bank not in evidence.log.algorithms:
        text = f"the log has digests of {', '.join(evidence.log.algorithms)} only, the quote is over {bank}"
        return (), [Finding("tpm.event-log", Outcome.NOTE, f"a log with digests of {bank}", text)]
    try:
        reached = eventlog.replay(evidence.log, bank)
    except MalformedEvidence as error:
        raise NotGenuine(
            "tpm.event-log", f"the event log cannot be replayed: {error.what}", where=error.where
        ) from None
    other = {index: value for index, value in reached.items() if index in registers and registers[index] != value}
    later = [index for index in other if events.afterwards(index, other[index], registers[index], bank)]
    wrong = other.keys() - later
    if wrong:
        raise NotGenuine(
            "tpm.event-log",
            f"replaying the event log does not lead to PCR {', '.join(map(str, sorted(wrong)))}",
            where=str(evidence.spans["event_log"]),
            hint="the log was altered or cut on the way, or something was measured after it was read",
        )
    size = len(next(iter(registers.values())))
    resting = (bytes(size), b"\xff" * size)
    silent = [index for index, value in sorted(registers.items()) if index not in reached and value not in resting]
    count, named = len(evidence.log.events), ", ".join(map(str, sorted(later)))
    told = f"{count} events replayed, then words of systemd in PCR {named}" if later else f"{count} events replayed"
    found = [Finding("tpm.event-log", Outcome.HELD, actual=told)]
    if silent:
        text = f"PCR {', '.join(map(str, silent))} holds measurements that the log does not explain"
        found.append(Finding("tpm.unmeasured", Outcome.NOTE, "a log of every register", text))
    return tuple(sorted(set(reached) & set(registers))), found
