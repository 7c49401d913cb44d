"""SNP reports: many distinct reports of one chip against one P-384 verification and, where there, against omne-attest.

    python benchmarks/verify_snp.py [--rounds 15] [--reports 60] [--peers PYTHON]

CPU time, interleaved rounds, median of ratios. Steady: chain and list are remembered, every report's signature is
checked. Cold: one real report from DER, with nothing remembered; omne-attest remembers nothing and looks up no list, so
the cold row is given without a list (its work and our further checks) and with one (one RSA signature more). PYTHON is
an interpreter that has ``omne-attest``. A tampered copy of each report is refused by both in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("src", "tests")]

from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: E402
from cryptography.hazmat.primitives.hashes import SHA384, Hash  # noqa: E402

from fastness.errors import NotGenuine  # noqa: E402
from fastness.forge.snp import AT, Maker  # noqa: E402
from fastness.pki import chain, keys  # noqa: E402
from fastness.pki.anchors import vendor  # noqa: E402
from fastness.tee import Collateral, load  # noqa: E402
from fastness.wire import der, pem, x509  # noqa: E402

REAL = "snp/milan-v2-steward-csr-crl"
BOUNDS = (
    ("steady", "P-384 floor", 1.10), ("steady", "omne-attest", 0.6), ("cold, no list", "omne-attest", 1.0),
    ("cold, with list", "omne-attest", None),
)  # fmt: skip

PEER = r"""
import hashlib, json, sys, time
import omne_attest
given = json.loads(sys.stdin.readline())
vcek, ask, ark = (bytes.fromhex(item) for item in given["chain"])
report, count = bytes.fromhex(given["report"]), given["count"]
pin, policy = hashlib.sha256(ark).digest(), omne_attest.Policy(reject_debug=False)
verify = lambda report: omne_attest.verify(report, vcek, ask, ark, pin, policy)
bad = report[:0x90] + bytes((report[0x90] ^ 1,)) + report[0x91:]
try: verify(bad); raise SystemExit("peer accepts a tampered report")
except omne_attest.Fail: pass
for line in sys.stdin:
    start = time.process_time()
    for _ in range(count): verify(report)
    print(json.dumps((time.process_time() - start) / count), flush=True)
"""


def forget() -> None:
    """Forgets every judgement and value made of these inputs; the words of all vendors (identifiers) stay known."""
    sys.modules["fastness.tee.snp.verify"].paths.clear()
    chain.memo._held.clear()
    for cached in (x509.common_name, keys.load, der._time):
        cached.cache_clear()


def refuses(verify: Callable[[bytes], object], report: bytes) -> None:
    """Ends the run unless ``verify`` refuses ``report`` with its measurement altered."""
    try:
        verify(report[:0x90] + bytes((report[0x90] ^ 1,)) + report[0x91:])
    except NotGenuine:
        return
    raise SystemExit("a tampered report was accepted")


def steady(count: int) -> dict[str, Callable[[], object]]:
    """The floor, and the verification of ``count`` distinct forged reports of one chip."""
    snp, maker = load("snp"), Maker({"generation": "milan"})
    forged, reports = maker.forged(), [maker.report() for _ in range(count)]
    key, algorithm = maker.leaf.key.public_key(), ec.ECDSA(utils.Prehashed(SHA384()))
    prepared = []
    for report in reports:
        evidence, digest = snp.parse(report), Hash(SHA384())
        digest.update(evidence.signed)
        prepared.append((utils.encode_dss_signature(evidence.r, evidence.s), digest.finalize()))

    def verify(report: bytes) -> None:
        snp.verify(snp.parse(report), forged.collateral, forged.anchors, at=AT)

    for report in reports:
        refuses(verify, report)
    return {
        "P-384 floor": lambda: [key.verify(signature, digest, algorithm) for signature, digest in prepared],
        "steady": lambda: [verify(report) for report in reports],
    }


def cold(count: int) -> tuple[dict[str, Callable[[], object]], dict[str, object]]:
    """The cold verification of one real report, without and with AMD's list of that time, and the peer's input."""
    from vectors import ROOT, case

    if not (ROOT / REAL).is_dir():
        return {}, {}
    snp, found = load("snp"), case(REAL)
    report, listed, at = found.files["report"], found.files["crl_0"], found.at
    assert at is not None
    chain_ = [found.files["vek"], *(block for _, block in pem.unarmour(found.files["vek_chain"]))]

    def verify(raw: bytes, lists: list[bytes]) -> None:
        forget()
        collateral = Collateral(tuple(map(x509.certificate, chain_)), tuple(map(x509.crl, lists)))
        snp.verify(snp.parse(raw), collateral, vendor(), at=at)

    refuses(lambda raw: verify(raw, [listed]), report)
    given = {"chain": [raw.hex() for raw in chain_], "report": report.hex(), "count": count}
    return {
        "cold, no list": lambda: [verify(report, []) for _ in range(count)],
        "cold, with list": lambda: [verify(report, [listed]) for _ in range(count)],
    }, given


def start(python: str, given: dict[str, object]) -> subprocess.Popen[str] | None:
    """The peer in a process of its own, fed one line a round; None where it cannot be imported."""
    there = [python or sys.executable, "-c", "import omne_attest"]
    if not given or subprocess.run(there, capture_output=True, check=False).returncode:
        print("no real evidence, or omne_attest is not importable (--peers): no comparison", file=sys.stderr)
        return None
    found = subprocess.Popen([there[0], "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert found.stdin is not None
    found.stdin.write(json.dumps(given) + "\n")
    return found


def spent(work: Callable[[], object], count: int) -> float:
    begin = time.process_time()
    work()
    return (time.process_time() - begin) / count


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reports", type=int, default=60)
    parser.add_argument("--peers", default="")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # both sides on one: two may run at different speeds
    more, given = cold(options.reports)
    timed, peer = steady(options.reports) | more, start(options.peers, given)
    rows: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, work in timed.items():
            if name == "steady":
                work()  # the cold rows have forgotten the chain
            rows.setdefault(name, []).append(spent(work, options.reports))
        if peer is not None and peer.stdin and peer.stdout:
            peer.stdin.write("go\n")
            peer.stdin.flush()
            rows.setdefault("omne-attest", []).append(json.loads(peer.stdout.readline()))
    if peer is not None and peer.stdin:
        peer.stdin.close()
        peer.wait()
    for name, values in rows.items():
        print(f"snp {name:16} {statistics.median(values) * 1e6:7.1f} us")
    over = 0
    for upper, lower, bound in BOUNDS:
        if lower not in rows or upper not in rows:
            continue
        ratio = statistics.median(a / b for a, b in zip(rows[upper], rows[lower], strict=True))
        over += bound is not None and ratio > bound
        word = "" if bound is None else f" (bound {bound}) {'ok' if ratio <= bound else 'OVER'}"
        print(f"snp {upper} / {lower} = {ratio:.3f}{word}")
    print(f"{options.reports} distinct reports; as many tampered ones refused")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
