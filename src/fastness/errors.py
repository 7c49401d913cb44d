"""The error family. Imports nothing, so that every layer may raise its own kind.

An error says *what* went wrong, *where* (a field, an offset, a file and line), and gives a *hint*: what the
reader can do about it. A refusal by policy is not an error: it is a :class:`fastness.appraise.verdict.Verdict`.

Peer error and caller error are different types: :class:`MalformedEvidence` is about bytes somebody sent us,
:class:`UsageError` about what our own caller asked for.
"""

from __future__ import annotations


class FastnessError(Exception):
    """Base of every error Fastness raises on purpose.

    Attributes:
        kind: stable, lower-case word for machines (``"malformed"``, ``"not-genuine"`` …).
        exit_code: the process exit code of the design, section 4.
        what: one sentence, lower case, no full stop.
        where: place of the fault, or the empty string.
        hint: what would mend it, or the empty string.
    """

    kind = "error"
    exit_code = 70

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint


class Bug(FastnessError):
    """Something raised what nobody meant to raise; made where it must not go further."""

    kind = "bug"

    def __init__(self, error: Exception) -> None:
        hint = "this is a bug of ours; please report it with FASTNESS_DEBUG=1 and its traceback"
        super().__init__(f"{type(error).__name__}: {error}", hint=hint)


class UsageError(FastnessError):
    """The caller asked for something that cannot be: a bad option, an unreadable file, a typo in a policy."""

    kind = "usage"
    exit_code = 2


class Malformed(FastnessError):
    """Bytes that should follow a format and do not."""

    kind = "malformed"
    exit_code = 3


class MalformedEvidence(Malformed):
    """Evidence or collateral that does not follow its specification.

    Args:
        field: name of the field as the specification spells it.
        offset: byte offset of that field from the start of the input.
        need: what the specification asks for.
        have: what was found.
    """

    def __init__(self, field: str, offset: int, need: object, have: object) -> None:
        super().__init__(
            f"{field}: need {need}, have {have}",
            where=f"{field} at byte {offset}",
            hint="get the evidence again from its producer; it was cut, padded or altered on the way",
        )
        self.field = field
        self.offset = offset
        self.need = need
        self.have = have

    def __reduce__(self) -> tuple[type[MalformedEvidence], tuple[str, int, object, object]]:
        return type(self), (self.field, self.offset, self.need, self.have)


class NotGenuine(FastnessError):
    """Cryptography says no: a signature, a binding or the chain to a pinned root does not hold.

    Args:
        check: id of the failed check in ``checks.toml`` (``"snp.signature"``).
    """

    kind = "not-genuine"
    exit_code = 4

    def __init__(self, check: str, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.check = check


class MissingCollateral(FastnessError):
    """Genuineness cannot be told: a certificate or signed document needed for it is absent or out of date.

    Args:
        missing: what is missing, in the vendor's words (``"VCEK certificate"``).
        source: where it can be had (a URL, or the name of a service).
        check: id of the check that needed it.
    """

    kind = "missing-collateral"
    exit_code = 5

    def __init__(self, missing: str, source: str = "", *, check: str = "", where: str = "", hint: str = "") -> None:
        super().__init__(
            f"{missing} is missing",
            where=where,
            hint=hint or (f"fetch it from {source}" if source else "supply it next to the evidence"),
        )
        self.missing = missing
        self.source = source
        self.check = check


class RemoteError(FastnessError):
    """The other side refused, lied about the protocol, or could not be reached."""

    kind = "remote"
    exit_code = 6


class ProtocolError(RemoteError):
    """The peer broke the keep protocol: a wrong length, order, version or signature."""

    kind = "protocol"


class KeepFailed(FastnessError):
    """The keep or the workload in it died: a trap, a limit, a kill."""

    kind = "keep-failed"
    exit_code = 7
