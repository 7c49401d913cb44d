"""One evaluation of a policy of 50 rules over full claims, in microseconds of CPU time. A tampered claim is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from fastness.appraise.policy import parse
from fastness.appraise.verdict import appraise
from fastness.claims.model import Claims, Cpu

AT = datetime(2026, 11, 1, tzinfo=UTC)
ROUNDS = 5000
REFUSE = '[[rule]]\nid = "no{0}"\neffect = "refuse"\nwhy = "w"\nwhen = {{ "cpu.vendor" = "amd", "cpu.model" = {0} }}\n'
ACCEPT = '[[rule]]\nid = "yes"\neffect = "accept"\nwhen = { tee = "snp" }\nrequire = { debug = false }\n'
CLAIMS = Claims(
    "snp", Cpu("amd", 25, 17, 1, "genoa", "EPYC", "report"), debug=False, tcb={"reported": {"snp": 23}},
    measurements={"launch": "ab" * 48}, report_data="cd" * 64, hardware_id="ef" * 64, extra={"vmpl": 0},
)  # fmt: skip


def main() -> None:
    """Prints the time of one evaluation."""
    policy = parse("".join(REFUSE.format(100 + index) for index in range(49)) + ACCEPT, "fifty.toml")
    assert appraise((CLAIMS,), (), policy, at=AT).accepted
    assert not appraise((CLAIMS._replace(debug=True),), (), policy, at=AT).accepted
    started = time.process_time()
    for _ in range(ROUNDS):
        appraise((CLAIMS,), (), policy, at=AT)
    print(f"50 rules: {(time.process_time() - started) / ROUNDS * 1e6:.1f} us (at most 100)")


if __name__ == "__main__":
    main()
