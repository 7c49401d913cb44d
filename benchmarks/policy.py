"""One evaluation of a policy of 50 rules over full claims, beside one CEL evaluation of a single rule in the same run.

Microseconds of CPU time, the best of several rounds: other work on the machine only ever adds to them. CEL is
`common-expression-language`, in an environment of its own: set PEER to its interpreter
(`python3 -m venv /tmp/cel && /tmp/cel/bin/pip install common-expression-language; PEER=/tmp/cel/bin/python`).
A tampered claim is refused, and CEL says no to it too.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import UTC, datetime

from fastness.appraise.policy import parse
from fastness.appraise.verdict import appraise
from fastness.claims.model import Claims, Cpu

AT = datetime(2026, 11, 1, tzinfo=UTC)
TIMES, ROUNDS = 500, 12
REFUSE = '[[rule]]\nid = "no{0}"\neffect = "refuse"\nwhy = "w"\nwhen = {{ "cpu.vendor" = "amd", "cpu.model" = {0} }}\n'
ACCEPT = """
[[rule]]
id = "yes"
effect = "accept"
when = { tee = "snp" }
require = { debug = false, "tcb.reported.snp" = ">=23", "cpu.generation" = ["genoa", "turin"] }
"""
RULE = 'tee == "snp" && debug == false && tcb.reported.snp >= 23 && cpu.generation in ["genoa", "turin"]'
TCB = {"boot_loader": 10, "tee": 0, "snp": 27, "microcode": 86}
BITS = dict.fromkeys(("debug", "migrate_ma", "smt", "single_socket", "cxl", "rapl_dis"), False)
CLAIMS = Claims(
    "snp", Cpu("amd", 25, 17, 1, "genoa", "EPYC", "report"), debug=False,
    tcb=dict.fromkeys(("current", "reported", "committed", "launch"), TCB),
    measurements={"launch": "ab" * 48, "host_data": "00" * 32, "id_key_digest": "00" * 48}, report_data="cd" * 64,
    hardware_id="ef" * 64, extra={"vmpl": 0, "guest_svn": 0, "policy": BITS, "platform": BITS, "signing_key": "vcek",
                                  "family_id": "00" * 16, "image_id": "00" * 16, "report_id": "11" * 32},
)  # fmt: skip
PEER = """
import json, sys, time
import cel
rule, claims, times, rounds = json.load(sys.stdin)
assert cel.evaluate(rule, claims) is True
assert cel.evaluate(rule, {**claims, "debug": True}) is False
program, found = cel.compile(rule), {"parsed": [], "compiled": []}
assert program.execute(claims) is True
for _ in range(rounds):
    for name, work in (("parsed", lambda: cel.evaluate(rule, claims)), ("compiled", lambda: program.execute(claims))):
        started = time.process_time()
        for _ in range(times):
            work()
        found[name].append((time.process_time() - started) / times * 1e6)
print(json.dumps({name: min(values) for name, values in found.items()}))
"""


def ours() -> float:
    """Microseconds of one evaluation."""
    policy = parse("".join(REFUSE.format(100 + index) for index in range(49)) + ACCEPT, "fifty.toml")
    assert len(policy.rules) == 50
    assert appraise((CLAIMS,), (), policy, at=AT).accepted
    assert not appraise((CLAIMS._replace(debug=True),), (), policy, at=AT).accepted
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(TIMES):
            appraise((CLAIMS,), (), policy, at=AT)
        best = min(best, (time.process_time() - started) / TIMES * 1e6)
    return best


def main() -> None:
    """Prints both."""
    print(f"50 rules: {ours():.1f} us (at most 100)")
    peer = os.environ.get("PEER")
    if not peer:
        print("one CEL rule: not measured; PEER names no interpreter that has common-expression-language")
        return
    given = json.dumps([RULE, CLAIMS.tree(), TIMES, ROUNDS])
    done = subprocess.run([peer, "-c", PEER], input=given, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(f"one CEL rule: {found['parsed']:.1f} us as text, {found['compiled']:.1f} us compiled")


if __name__ == "__main__":
    main()
