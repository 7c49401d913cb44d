"""``fastness verify``: is this evidence genuine, and does a policy accept it?

Exit codes: 0 genuine (and accepted), 1 refused by the policy, 2 usage, 3 malformed, 4 not genuine, 5 collateral
missing or out of date. Several pieces of evidence: the worst of them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastness.errors import FastnessError, UsageError
from fastness.language import ENGLISH, Language
from fastness.wire.der import zulu

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from datetime import datetime

    from fastness.appraise.policy import Policy
    from fastness.collateral.gather import Gathered
    from fastness.pki import jose
    from fastness.result import Result


def configure(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("paths", metavar="PATH", nargs="*", help="files and folders of evidence and collateral; - for stdin")
    add("--at", metavar="TIME", help="the time to judge at, ISO 8601, or `bundle` for that of a bundle (now)")
    add("--nonce", metavar="HEX", help="the nonce the evidence must be fresh over")
    add("--report-data", metavar="HEX", help="the report_data the evidence must hold")
    add("--policy", metavar="NAME|FILE", help="decide by this policy; without it: is it genuine?")
    add("--owners", metavar="FILE", help="the policy must be signed by enough of these keys")
    add("--anchors", metavar="FILE", nargs="+", action="extend", default=[], help="further roots: certificates or keys")
    add("--offline", action="store_true", help="never fetch collateral that is missing")
    add("--json", action="store_true", help="the whole result as one JSON document on stdout")
    add("--html", metavar="FILE", help="write the result as one page that explains itself")
    add("--ear", metavar="FILE", help="write the result as a signed EAR (JWT) to FILE")
    add("--ear-key", metavar="FILE", help="sign it with this private key (one of this user's, made on first use)")
    add("--ear-profile", choices=("04", "2023"), default="04", help="names of that draft of EAR (04)")
    add("--batch", action="store_true", help="stay, and answer each JSON line on stdin with one on stdout")


def run(options: argparse.Namespace) -> int:
    """Answers; returns the exit code."""
    if options.batch:
        return _batch(options)
    from fastness.attestation import answer, question
    from fastness.cli.values import MAX_NONCE, hexadecimal
    from fastness.collateral.gather import gather
    from fastness.result import document, exit_code

    alone = _alone(options)
    paths, anchors = _paths(options)
    gathered = gather(paths)
    asked = question(
        moment(options.at, gathered),
        hexadecimal("--nonce", options.nonce, MAX_NONCE),
        hexadecimal("--report-data", options.report_data, MAX_NONCE),
        _policy(options),
        anchors,
        offline=options.offline,
    )
    key = _ear_key(options)
    results = answer(gathered, asked)
    if key is not None:
        from fastness.cli import ear

        ear.write(results, options.ear, key, asked.nonce, options.ear_profile)
    for note in asked.supply.notes if asked.supply is not None else ():
        print(f"not fetched: {note}", file=sys.stderr)
    if options.html:
        _write_page(options.html, results)
    if options.json:
        from fastness.cli.words import emit

        emit(document(results))
    elif not alone:
        _ignored(results[0])
        for result in results:
            _show(result, several=len(results) > 1)
    return exit_code(results)


def moment(text: str | None, gathered: Gathered, place: str = "--at") -> datetime | None:
    """The time that ``text`` names: that of the bundle among the inputs, if it says so."""
    from fastness.cli.values import when

    if text != "bundle":
        return when(text, place)
    if not gathered.bundle_at:
        hint = "fastness collateral bundle makes one"
        raise UsageError("the time of a bundle without a bundle among the inputs", where=place, hint=hint)
    return when(gathered.bundle_at, place)


def _batch(options: argparse.Namespace) -> int:
    if options.ear is not None or options.ear_key is not None or options.html is not None:
        raise UsageError("an EAR or a page is of one run", where="--batch", hint="leave out --batch")
    from fastness.cli.batch import serve

    return serve(options, _policy(options))


def _write_page(place: str, results: Sequence[Result]) -> None:
    from pathlib import Path

    from fastness.cli import files
    from fastness.language import current
    from fastness.page import html

    page = html(results, current())
    if place == "-":
        print(page)
    else:
        files.write(Path(place), page.encode(), 0o644)


def _alone(options: argparse.Namespace) -> bool:
    """Whether ``--html -`` or ``--ear -`` has stdout to itself: one document there is all anybody can read."""
    wanted = [name for name in ("html", "ear") if getattr(options, name) == "-"]
    if len(wanted) + options.json > 1:
        raise UsageError("one document on stdout", where=f"--{wanted[0]}", hint=f"--{wanted[0]} FILE")
    return bool(wanted)


def _ear_key(options: argparse.Namespace) -> jose.Private | None:
    if options.ear is None:
        if options.ear_key is not None:
            raise UsageError("--ear-key without a result to sign", where="--ear-key", hint="--ear FILE")
        return None
    from fastness.cli import ear

    return ear.signing_key(options.ear_key)


def _policy(options: argparse.Namespace) -> Policy | None:
    if options.policy is None:
        if options.owners is not None:
            raise UsageError("--owners without a policy they could own", where="--owners", hint="--policy FILE")
        return None
    from fastness.appraise.policy import load

    return load(options.policy, options.owners)


def _paths(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    # `--anchors FILE PATH`: the option takes all that follows; with no other path, only the first is meant
    paths, anchors = list(options.paths), list(options.anchors)
    if not paths and len(anchors) > 1:
        paths, anchors = anchors[1:], anchors[:1]
    if not paths:
        raise UsageError("no files were named", hint="fastness verify PATH…, or - for standard input")
    return paths, anchors


def _ignored(result: Result) -> None:
    """What was left aside, which is the same for all results of one run."""
    from fastness.cli.words import paint, printable
    from fastness.language import current

    label = paint(current().label("ignored"), "dim")
    for item in result.ignored:
        print(f"{label} {printable(item.source)}: {printable(item.why)}", file=sys.stderr)


def _show(result: Result, *, several: bool) -> None:
    from fastness.cli.words import printable, tell
    from fastness.language import current

    spoken = current()
    if several and result.source:
        print(printable(f"{result.source}:"))
    if isinstance(result.error, FastnessError):
        tell(result.error)
    print("\n".join(printable(line) for line in lines(result, spoken)))


def lines(result: Result, language: Language = ENGLISH) -> list[str]:
    """The result for people."""
    fill = language.fill

    def row(label: str, said: str) -> str:
        return f"{language.column(language.label(label), 11)}{said}"

    answer = {True: fill("yes"), False: fill("NO"), None: "cannot be told: collateral is missing"}[result.genuine]
    tee = result.tee or fill("none")
    out = [row("evidence", fill("{0} resting on {1}", tee, ", ".join(result.within)) if result.within else tee)]
    out += [row("genuine", fill("{0}   (at {1})", answer, zulu(result.at)))]
    out += [
        row("vouched by", fill("{0} SIMULATED", item.name) if item.simulated else item.name) for item in result.anchors
    ]
    if result.claims is not None:
        out += [language.label("claims"), *(f"  {name:<32} {value}" for name, value in flat(result.claims))]
    out += _findings(result, language)
    if result.not_checked:
        out += [language.label("not checked"), *(f"  {language.say(text)}" for text in result.not_checked)]
    if result.verdict is not None:
        out.append(row("verdict", fill("{0}, decided by {1}", fill(result.verdict), result.decided_by)))
    if result.policy is not None:
        out.append(row("policy", f"{result.policy['name']}, sha-256 {result.policy['sha256']}"))
    if result.would_turn:
        from fastness.appraise.turn import sentence

        out.append(sentence([(item["host"], item["policy"]) for item in result.would_turn], language))
    return out


def _findings(result: Result, language: Language) -> list[str]:
    if result.verdict is not None:
        from fastness.appraise.explain import told

        return [language.label("findings"), *(f"  {line}" for line in told(result.findings, language))]
    shown = [item for item in result.findings if item.outcome.value != "held"]
    out = [language.label("findings")] if shown else []
    for item in shown:
        outcome = language.column(language.outcome(item.outcome.value), 12)
        out.append(f"  {outcome} {language.named(item.check)}: {language.say(item.actual or item.expected)}")
        hint = language.advice(item.check, item.hint)
        out += [f"  {'':<12} {language.label('hint')} {hint}"] if item.hint else []
    return out


def flat(tree: Any, prefix: str = "") -> Sequence[tuple[str, str]]:
    """A tree as rows of dotted names and values."""
    rows: list[tuple[str, str]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            rows += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(item, dict) for item in value):
            rows += flat({f"{name}[{index}]": item for index, item in enumerate(value)}, prefix)
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((prefix + name, text.lower() if isinstance(value, bool) else text))
    return rows
