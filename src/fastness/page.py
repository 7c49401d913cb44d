"""A result as one page of HTML: for people who must say why a machine was trusted, and who must check it later.

Nothing is loaded from anywhere (a content security policy says so too); every text is escaped, for claims are what
evidence says and evidence is hostile. Readable on a phone, in the dark, and on paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from fastness.appraise.turn import sentence, ways
from fastness.language import ENGLISH, Language
from fastness.result import Result
from fastness.wire.der import zulu

MAX_VALUE = 2048
"""Longest value shown, in characters; hexadecimal of a whole report would hide the rest."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6470;--line:#d9dee5;--paper:#fff}
:root{--good:#17683a;--bad:#a3261b;--open:#8a5a00}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#9aa4b2;--line:#353c46;--paper:#14171b}
:root{--good:#5fcf8f;--bad:#ff8a7a;--open:#f0b95a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1.5rem;font:16px/1.5 system-ui,sans-serif}
body{color:var(--ink);background:var(--paper);overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.1rem;margin:2em 0 .5em;border-bottom:1px solid var(--line)}
.turn{border-left:4px solid var(--open);padding:.2em .8em;margin:1em 0}.turn ul{margin:.2em 0;padding-left:1.2em}
table{border-collapse:collapse;width:100%}td,th{padding:.3em .6em .3em 0;text-align:left;vertical-align:top}
tr+tr td{border-top:1px solid var(--line)}
code,td.value{font-family:ui-monospace,monospace;font-size:.85rem;overflow-wrap:anywhere}
.held{color:var(--good)}.failed{color:var(--bad)}.not-checked,.waived{color:var(--open)}.note,.dim{color:var(--dim)}
dl{display:grid;grid-template-columns:7rem 1fr;margin:.2em 0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
article{padding:.6em 0}article+article{border-top:1px solid var(--line)}article>b{font-family:ui-monospace,monospace}
@media(max-width:30rem){body{padding:.8rem}dl{grid-template-columns:1fr}}
@media print{body{max-width:none;padding:0;font-size:11pt}article{break-inside:avoid}}
"""
HEAD = (
    "<!doctype html>\n<html lang={0}><head><meta charset=utf-8>"
    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    "<meta name=viewport content='width=device-width,initial-scale=1'><meta name=referrer content=no-referrer>"
)
ORDER = ("failed", "not-checked", "waived", "note", "held")


def html(results: Sequence[Result], language: Language = ENGLISH) -> str:
    """The page for ``results``."""
    body = "".join(_result(item, language) for item in results)
    title = "Fastness: " + ", ".join(language.say(language.fill(_answer(item)[1])) for item in results)
    head = f"{HEAD.format(language.code)}<title>{_text(title)}</title><style>{STYLE}</style></head>"
    return f"{head}<body>{body}</body></html>\n"


def _text(value: object) -> str:
    text = "true" if value is True else "false" if value is False else str(value)
    text = text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text)} characters)"
    # what reorders or hides text on a screen is shown as what it is
    return escape("".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text), quote=True)


def _answer(result: Result) -> tuple[str, str]:
    """(class, words) of the answer."""
    if result.genuine is False:
        return "failed", "not genuine"
    if result.genuine is None:
        return "not-checked", "cannot be told: collateral is missing"
    if result.verdict is None:
        return "held", "genuine; no policy was asked"
    return ("held", "accepted") if result.verdict == "accept" else ("failed", "refused")


def _result(result: Result, language: Language) -> str:
    shade, answer = _answer(result)
    say, label = language.say, language.label
    tee = result.tee or language.fill("none")
    parts = [f"<h1 class={shade}>{_text(say(language.fill(answer)))}</h1>"]
    facts = {
        "evidence": language.fill("{0} resting on {1}", tee, ", ".join(result.within)) if result.within else tee,
        "from": result.source,
        "judged at": zulu(result.at),
        "decided by": say(result.decided_by or ""),
        "policy": f"{result.policy['name']}, sha-256 {result.policy['sha256']}" if result.policy else "",
        "vouched by": ", ".join(
            language.fill("{0} SIMULATED", item.name) if item.simulated else item.name for item in result.anchors
        ),
    }
    parts.append(_list({label(name): value for name, value in facts.items() if value}))
    if result.would_turn:
        parts.append(_turn([(item["host"], item["policy"]) for item in result.would_turn], language))
    if result.error is not None:
        check = getattr(result.error, "check", "")
        rows = {
            "what": language.trouble(result.error.kind, check, result.error.what),
            "where": result.error.where,
            "hint": language.advice(check, result.error.hint),
        }
        parts += [
            f"<h2>{_text(label('Error'))}</h2>",
            _list({label(name): value for name, value in rows.items() if value}),
        ]
    parts += _findings(result, language)
    if result.claims is not None:
        parts += [f"<h2>{_text(label('Claims'))}</h2>", _claims(result.claims)]
    if result.not_checked:
        items = [f"<li>{_text(say(item))}</li>" for item in result.not_checked]
        parts += [f"<h2>{_text(label('Not checked'))}</h2><ul>", *items, "</ul>"]
    return "<main>" + "".join(parts) + "</main>"


def _turn(changes: list[tuple[str, str]], language: Language) -> str:
    if len(changes) == 1:
        return f"<p class=turn>{_text(sentence(changes, language))}</p>"
    items = "".join(f"<li>{_text(way)}</li>" for way in ways(changes, language))
    return f"<div class=turn>{_text(language.label('would be accepted with all of these'))}<ul>{items}</ul></div>"


def _list(rows: Mapping[str, object]) -> str:
    return "<dl>" + "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows.items()) + "</dl>"


def _findings(result: Result, language: Language) -> Iterable[str]:
    if not result.findings:
        return []
    out = [f"<h2>{_text(language.label('Findings'))}</h2>"]
    for item in sorted(result.findings, key=lambda finding: ORDER.index(finding.outcome.value)):
        shade = item.outcome.value
        rows = {
            "expected": language.say(item.expected),
            "found": language.say(item.actual),
            "where": " · ".join(str(place) for place in item.where if str(place)),
            "because": language.say(item.because),
            "hint": language.advice(item.check, item.hint) if shade != "held" else "",
        }
        shown = _list({language.label(name): value for name, value in rows.items() if value})
        word = _text(language.outcome(shade).replace("-", " "))
        head = f"<b class={shade}>{_text(language.named(item.check))}</b> <span class={shade}>{word}</span>"
        out.append(f"<article>{head}{shown}</article>")
    return out


def _claims(tree: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><td>{_text(name)}</td><td class=value>{_text(value)}</td></tr>" for name, value in _flat(tree))
    return f"<table>{rows}</table>"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
