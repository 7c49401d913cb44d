"""From a keep's statement to a verdict: genuine, about this session and these keys, and accepted by the policy?

1. The evidence is of a type the policy could accept, and the one the keep named.
2. It is genuine up to a root that was named.
3. Its report_data is the one recomputed here: role, platform, nonce, our own exporter, both keys, the workload.
4. The key of the TLS session is the attested signing key, and it signed the transcript.
5. The measurement log replays to the attested register, and the workload is the log's.
6. The policy accepts the claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastness.appraise.policy import Policy
from fastness.appraise.verdict import Verdict, appraise
from fastness.attestation import Examined, Question, examine
from fastness.claims.model import Claims
from fastness.collateral.supply import Supply
from fastness.errors import NotGenuine, ProtocolError
from fastness.pki import keys
from fastness.pki.anchors import Anchors
from fastness.seal import binding, log
from fastness.seal.challenger import only, replay
from fastness.seal.messages import Challenge, Statement
from fastness.tee import Collateral
from fastness.tenant import activate
from fastness.tenant.activate import Activated
from fastness.wire import x509
from fastness.wire.x509 import Algorithm

ECDSA_SHA256 = Algorithm("1.2.840.10045.4.3.2", b"")
REGISTERS = {"nil": ("runtime", "sha384"), "tpm": ("pcr15", "sha256"), "tdx": ("rtmr3", "sha384")}
"""The measurement a platform's runtime register shows up as, and the hash it is extended with."""

MAY_REST = frozenset({"tdx"})
"""Platforms whose kernel may offer the keep no way to extend its register: then it stays at zero, and the log rests on
the keep's signature alone, as where a platform has no such register at all."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided of a keep, and on what."""

    claims: Claims
    verdict: Verdict


def decide(
    statement: Statement,
    *,
    signed: bytes,
    signature: bytes,
    challenge: Challenge,
    exporter: bytes,
    session_key: bytes,
    policy: Policy,
    anchors: Anchors,
    at: datetime,
    activated: Activated | None = None,
    supply: Supply | None = None,
    collateral: Collateral | None = None,
    known: tuple[bytes, ...] = (),
) -> Decision:
    """The verdict on ``statement``; ``signed`` and ``signature`` are its transcript's.

    Args:
        activated: what became of a credential made for the keep's TPM, where it has one.
        supply: where collateral comes from that the keep did not bring.
        collateral: what the tenant has of it.
        known: what it learnt of the keep when it attended its launch.

    Raises:
        NotGenuine: steps 2 to 5; the check says which.
        MissingCollateral, MalformedEvidence: step 2.
        ProtocolError: step 1: the keep answers with evidence that was not asked for.
    """
    # (1)
    if statement.tee not in challenge.accepts:
        raise ProtocolError(f"the keep answered with {statement.tee[:32]!r} evidence, which was not asked for")
    # (2)
    sources = activate.sources(statement, activated, known)
    question = Question(at, policy=policy, anchors=anchors, supply=supply)
    found = examine(sources, statement.tee, question, activate.remembered(activated) + (collateral or Collateral()))
    claims = found.layers[0]
    # (3)
    expected = binding.report_data(
        role=challenge.role,
        platform=statement.platform,
        nonce=challenge.nonce,
        exporter=exporter,
        signing_key=statement.signing_key,
        hpke_key=statement.hpke_key,
        workload=statement.workload or binding.ZERO,
    )
    if not binding.equal(expected, bytes.fromhex(claims.report_data or "")):
        raise NotGenuine(
            "binding.report-data",
            "the evidence speaks for another session, key or workload",
            where="report_data",
            hint="somebody stands between you and the keep, or passes on evidence of another one: use another host",
        )
    # (4)
    _keys(statement, signed, signature, session_key)
    # (5)
    _log(statement, claims)
    # (6)
    layers = _with_debug(found, statement)
    return Decision(layers[0], appraise(layers, found.findings, policy, at=at, measured=True))


def _with_debug(found: Examined, statement: Statement) -> tuple[Claims, ...]:
    """The claims, with ``debug`` as the measured log has it: a debug build says so first.

    Evidence that cannot speak of debug (a TPM's) leaves that to the keep's own word, which is as good as the
    measurement the policy asks for.
    """
    flagged = any(event.kind == log.DEBUG for event in statement.log)
    first = found.layers[0]
    if len(found.layers) > 1 and not flagged:
        return found.layers
    return (first._replace(debug=bool(first.debug) or flagged), *found.layers[1:])


def _keys(statement: Statement, signed: bytes, signature: bytes, session_key: bytes) -> None:
    if not binding.equal(session_key, statement.signing_key):
        raise NotGenuine(
            "binding.session-key",
            "the TLS session ends at another key than the attested one",
            hint="somebody stands between you and the keep: use another host",
        )
    key = keys.load(x509.parse_public_key(statement.signing_key))
    if not keys.verify(key, ECDSA_SHA256, signature, signed):
        raise NotGenuine(
            "binding.transcript",
            "the keep's signature over the conversation does not hold",
            hint="the conversation was altered on the way: try again, then use another host",
        )


def _replays(statement: Statement, claims: Claims) -> bool:
    """Whether the log leads to the attested register; without one, the keep's signature over the log must do (4)."""
    if statement.tee not in REGISTERS:
        return True
    name, hashing = REGISTERS[statement.tee]
    register = bytes.fromhex(claims.measurements.get(name, ""))
    if statement.tee in MAY_REST and not any(register):
        return True
    return binding.equal(replay(statement.log, hashing), register)


def _log(statement: Statement, claims: Claims) -> None:
    if not _replays(statement, claims):
        raise NotGenuine(
            "binding.log",
            "the measurement log does not lead to the attested register",
            where="log",
            hint="the log was altered on the way; use another host",
        )
    if any(event.kind == log.POISON for event in statement.log):
        raise NotGenuine(
            "binding.poison",
            "the keep flags that it has been compromised",
            where="log",
            hint="stop it (`fastness keep stop`) and treat what it was given as known to the host",
        )
    wasm, configuration = only(statement.log, log.WORKLOAD), only(statement.log, log.CONFIGURATION)
    loaded = binding.workload_digest(wasm, configuration) if wasm and configuration else b""
    if loaded != statement.workload:
        raise NotGenuine("binding.workload", "the workload the keep names is not the one in its log", where="log")
