"""The page that explains a result: complete, self-contained, and proof against what hostile evidence says."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fastness import verify
from fastness.appraise import policy as policies
from fastness.claims.finding import Finding, Outcome
from fastness.cli import files
from fastness.cli.main import main
from fastness.forge import snp
from fastness.page import html
from fastness.result import Result

RULES = """
[[rule]]
id = "floor"
effect = "accept"
when = { tee = "snp" }
require = { debug = false, simulated = true, "tcb.reported.snp" = ">=99" }
[[waive]]
check = "*.revocation"
why = "forged"
"""


def judged(rules: str = RULES) -> Result:
    forged = snp.make({"generation": "turin", "table": True})
    policy = policies.parse(rules, "ours.toml")
    return verify(forged.evidence, at=forged.at, anchors=forged.anchors, policy=policy)


class Parts(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data + "\n"


def test_it_says_the_answer_the_findings_the_claims_and_what_would_turn_it() -> None:
    parts = Parts(html([judged()]))
    for words in ("refused", "policy.rule.floor", "tcb.reported.snp >=99", "ours.toml:6", "forged",
                  "with ours.toml:6 at >=23", "measurements.launch", "Not checked", "SIMULATED"):  # fmt: skip
        assert words in parts.text, words
    assert not [tag for tag in parts.open if tag not in ("html", "body", "head")]
    assert "accepted" in Parts(html([judged(RULES.replace(">=99", ">=1"))])).text


def test_it_loads_nothing_and_runs_nothing() -> None:
    page = html([judged()])
    parts = Parts(page)
    names = {tag for tag, _ in parts.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "a", "form", "base"}
    assert not re.search(r"https?://|url\(|@import|javascript:", page.split("</style>")[0])
    assert any("default-src 'none'" in (attributes.get("content") or "") for _, attributes in parts.tags)
    assert not [name for _, attributes in parts.tags for name in attributes if name.startswith("on")]


@pytest.mark.parametrize(
    "bad", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "&lt;b", "a\u202eb\x00"]
)
def test_hostile_text_is_shown_and_not_obeyed(bad: str) -> None:
    finding = Finding(f"snp.{bad}", Outcome.FAILED, expected=bad, actual=bad, because=bad, hint=bad)
    result = judged()._replace(
        findings=(finding,), source=bad, claims={bad: {bad: bad}, "list": [bad]}, not_checked=(bad,), decided_by=bad,
        would_turn=({"check": bad, "host": bad, "policy": bad},),
    )  # fmt: skip
    page = html([result])
    parts = Parts(page)
    assert {tag for tag, _ in parts.tags} == {tag for tag, _ in Parts(html([judged()])).tags}
    assert "\u202e" not in page
    assert "\x00" not in page
    assert "<script" not in page


def test_a_long_value_is_cut_and_says_so() -> None:
    assert "(5000 characters)" in html([judged()._replace(source="x" * 5000)])


def test_evidence_that_is_not_genuine_or_cannot_be_told() -> None:
    forged = snp.make({"generation": "turin", "table": True, "lie": "signature"})
    assert "not genuine" in Parts(html([verify(forged.evidence, at=forged.at, anchors=forged.anchors)])).text
    lonely = verify(forged.evidence[:1184], at=forged.at, anchors=forged.anchors)
    assert "collateral is missing" in Parts(html([lonely])).text


def test_the_command_line_writes_it_whole(tmp_path: Path) -> None:
    forged = snp.make({"generation": "turin", "table": True})
    evidence, page, root = tmp_path / "r.bin", tmp_path / "page.html", tmp_path / "ark.der"
    evidence.write_bytes(forged.evidence)
    root.write_bytes(snp.vendor("turin")[0].value.raw)
    at = f"{forged.at:%Y-%m-%dT%H:%M:%SZ}"
    assert main(["verify", str(evidence), "--anchors", str(root), "--at", at, "--offline", "--html", str(page)]) == 0
    assert Parts(page.read_text()).text.strip().startswith("Fastness: genuine")
    assert main(["verify", "--batch", "--html", str(page)]) == 2


def test_a_page_or_a_token_on_stdout_is_alone_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "report").write_bytes(snp.make({}).evidence)
    words = ["verify", str(tmp_path / "report"), "--offline"]
    assert main([*words, "--html", "-"]) == 5
    page = capsys.readouterr().out
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert main([*words, "--ear", "-"]) == 5
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", capsys.readouterr().out)
    for two in (["--html", "-", "--json"], ["--html", "-", "--ear", "-"], ["--ear", "-", "--json"]):
        assert main([*words, *two]) == 2


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path):
    (tmp_path / "report").write_bytes(snp.make({}).evidence)
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    words = ["verify", str(tmp_path / "report"), "--offline", "--html"]
    assert main([*words, str(tmp_path / "link")]) == 5
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes().startswith(b"<!doctype")
    (tmp_path / "to").symlink_to(tmp_path / "new")
    files.write(tmp_path / "to", b"token", 0o600)  # what others may not read they may not read behind a link either
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert main([*words, str(tmp_path / "pipe")]) == 5
        assert (tmp_path / "pipe").is_fifo() and os.read(reader, 9) == b"<!doctype"
    finally:
        os.close(reader)
    assert main([*words, str(tmp_path)]) == 2
