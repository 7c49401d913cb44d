"""The event log of a TD (ACPI CCEL area) replayed to its runtime registers.

Entries of a CCEL name a measurement register: 0 MRTD, 1 to 4 RTMR 0 to 3 (UEFI 2.10 section 38.4.1). Logs that name
PCRs instead, as TPM tools rewrite them, are mapped as firmware does: PCR 1 and 7 to RTMR 0, 2 to 6 to RTMR 1, 8 to 15
to RTMR 2. Texts must be those that were measured (:mod:`fastness.tee.eventtext`), although nothing is claimed of them.
Logs of dstack are JSON (:mod:`fastness.tee.tdx.dstack`).
"""

from __future__ import annotations

from fastness.claims.finding import Finding, Outcome
from fastness.errors import MalformedEvidence
from fastness.tee import Document, eventtext
from fastness.tee.tdx import dstack
from fastness.tee.tdx.evidence import Body
from fastness.wire import eventlog
from fastness.wire.cursor import Cursor

BY_PCR = {1: 0, 7: 0} | dict.fromkeys(range(2, 7), 1) | dict.fromkeys(range(8, 16), 2)
BY_REGISTER = {1: 0, 2: 1, 3: 2, 4: 3}
CC_TDX = 2
"""CC type of the CCEL table (ACPI 6.5 section 5.2.34)."""
TABLE_SIZE = 56
CHECK = "tdx.event-log"
JSON = "event-log-json"
"""Kind of a document that is a log of dstack's."""
_BANKS = ("sha384",)
"""Algorithms of a log about RTMRs: no register of a TD is of another."""


def table(data: bytes) -> tuple[int, int]:
    """(CC type, least length of the log area) of an ACPI CCEL table, 56 bytes.

    Raises:
        MalformedEvidence: another table, size or checksum.
    """
    cursor = Cursor(data)
    if cursor.take(4, "CCEL.signature") != b"CCEL":
        raise MalformedEvidence("CCEL.signature", 0, "CCEL", repr(data[:4]))
    size = cursor.little(4, "CCEL.length")
    if size != TABLE_SIZE or len(data) != TABLE_SIZE:
        raise MalformedEvidence("CCEL.length", 4, TABLE_SIZE, len(data))
    if sum(data) & 0xFF:
        raise MalformedEvidence("CCEL.checksum", 9, "a byte sum of zero", sum(data) & 0xFF)
    cursor.take(28, "CCEL.header")
    kind = cursor.little(1, "CCEL.cc_type")
    cursor.take(3, "CCEL.cc_subtype")
    return kind, cursor.little(8, "CCEL.log_area_minimum_length")


def replay(log: eventlog.EventLog) -> dict[int, bytes]:
    """RTMR number → SHA-384 value the log leads to; registers no entry extends are absent."""
    entries = [item for item in log.events if item.type != eventlog.EV_NO_ACTION]
    mapping = BY_REGISTER if all(item.index <= 4 for item in entries) else BY_PCR
    values: dict[int, bytes] = {}
    for item in entries:
        register = mapping.get(item.index)
        if register is None:
            continue
        digest = item.digests.get("sha384")
        if digest is None:
            raise MalformedEvidence("event.digests", item.offset, "a SHA-384 digest", ", ".join(item.digests))
        values[register] = eventlog.extend(values.get(register, bytes(48)), digest, "sha384")
    return values


def findings(body: Body, logs: tuple[Document, ...], tables: tuple[Document, ...]) -> tuple[Finding, ...]:
    """What the logs say, each against the quoted registers."""
    return tuple(_finding(body, log, tables) for log in logs)


def _of_a_td(tables: tuple[Document, ...]) -> None:
    """Whether one of the tables, if there are any, says that the log is a TD's.

    Raises:
        MalformedEvidence: none does.
    """
    failure: MalformedEvidence | None = None
    for item in tables:
        try:
            kind, _ = table(item.data)
        except MalformedEvidence as error:
            failure = error
            continue
        if kind == CC_TDX:
            return
        failure = MalformedEvidence("CCEL.cc_type", 36, CC_TDX, kind)
    if failure is not None:
        raise failure


def _finding(body: Body, document: Document, tables: tuple[Document, ...]) -> Finding:
    try:
        _of_a_td(tables)
        parsed = dstack.parse(document.data) if document.kind == JSON else eventlog.parse(document.data)
        values = replay(parsed) if parsed.algorithms == _BANKS else {}
    except MalformedEvidence as error:
        return Finding(CHECK, Outcome.FAILED, "an event log that follows its specification", str(error))
    if parsed.algorithms != _BANKS:  # the log of a vTPM beside the TD: its registers are not quoted here
        told = f"the log has digests of {', '.join(parsed.algorithms)}: a TPM's, and not of these registers"
        return Finding(CHECK, Outcome.NOTE, "a log with digests of sha384 alone", told)
    odd = eventtext.altered(parsed) if document.kind != JSON else None
    if odd is not None:
        event, bank = odd
        return Finding(
            CHECK,
            Outcome.FAILED,
            expected="texts that are those which were measured",
            actual=f"{event.name} at byte {event.offset} of the log: the {bank} digest is not the hash of the event",
            because="the registers vouch for digests: a text that does not fit its digest was altered",
            hint="the event log was altered on the way; get it again from the guest",
        )
    wrong = [f"rtmr{number}" for number, value in sorted(values.items()) if body.rtmrs[number] != value]
    named = ", ".join(f"rtmr{number}" for number in sorted(values))
    if wrong or not values:
        return Finding(
            CHECK,
            Outcome.FAILED,
            expected="a log that leads to the quoted registers",
            actual=f"{', '.join(wrong)} differ" if wrong else "no entry extends a register",
            because="the log is not what this TD measured, or entries are missing",
            hint="collect log and quote in one go, before anything more is measured",
        )
    silent = [f"rtmr{number}" for number in range(4) if number not in values and any(body.rtmrs[number])]
    rest = f"; {', '.join(silent)} not zero and not in the log" if silent else ""
    return Finding(CHECK, Outcome.HELD, actual=f"the log leads to {named}{rest}")
