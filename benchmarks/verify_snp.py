"""SNP reports, steady state: many distinct reports of one chip, against one P-384 verification (bound 1.10).

    python benchmarks/verify_snp.py [--rounds 15] [--reports 100]

CPU time, interleaved rounds, median of ratios. Every report is tampered with once, and refused, in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384, Hash

from fastness.errors import NotGenuine
from fastness.forge.snp import AT, Maker
from fastness.tee import snp


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reports", type=int, default=100)
    options = parser.parse_args()
    maker = Maker({"generation": "milan"})
    forged = maker.forged()
    reports = [maker.report() for _ in range(options.reports)]
    key = maker.leaf.key.public_key()
    prepared = []
    for report in reports:
        evidence = snp.parse(report)
        digest = Hash(SHA384())
        digest.update(evidence.signed)
        prepared.append((utils.encode_dss_signature(evidence.r, evidence.s), digest.finalize()))
    algorithm = ec.ECDSA(utils.Prehashed(SHA384()))

    def verify(report: bytes) -> None:
        evidence = snp.parse(report)
        snp.verify(evidence, forged.collateral, forged.anchors, at=AT)

    ratios, took = [], []
    for _ in range(options.rounds + 1):
        begin = time.process_time()
        for signature, digest in prepared:
            key.verify(signature, digest, algorithm)
        middle = time.process_time()
        for report in reports:
            verify(report)
        end = time.process_time()
        ratios.append((end - middle) / (middle - begin))
        took.append((end - middle) / len(reports) * 1e6)
    refused = 0
    for report in reports:
        try:
            verify(report[:0x90] + bytes((report[0x90] ^ 1,)) + report[0x91:])
        except NotGenuine:
            refused += 1
    if refused != len(reports):
        raise SystemExit(f"{len(reports) - refused} tampered reports were accepted")
    shown = f"{statistics.median(took[1:]):.0f} us, {statistics.median(ratios[1:]):.3f} x one P-384 verification"
    print(f"snp steady: {shown} (bound 1.10); {refused} tampered reports refused")


if __name__ == "__main__":
    main()
