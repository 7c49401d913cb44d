"""``fastness verify`` of one quote as a process, against the same through dcap-qvl from Python: CPU time of the whole
process, interleaved, median of ratios. Both refuse a tampered copy first, and both must give the same TCB status.

    python benchmarks/verify_cli.py [--rounds 21] [--peers PYTHON]

PYTHON is an interpreter that has ``dcap-qvl``; it is also run for the floor (``-I -c pass``). Without it only the floor
of this interpreter is compared. The resident mode (``--batch``) is timed per quote over 200 lines.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CASE = ROOT.parent / "shared" / "vectors" / "tdx" / "v4-uptodate"
AT = "2025-07-04T10:16:31Z"
UNIX = "1751624191"

PEER = r"""
import sys, dcap_qvl
quote = open(sys.argv[1], "rb").read()
collateral = dcap_qvl.QuoteCollateralV3.from_json(open(sys.argv[2]).read())
try:
    print(dcap_qvl.verify(quote, collateral, int(sys.argv[3])).status)
except ValueError as error:
    sys.exit(str(error))
"""


def cpu(command: list[str], feed: bytes = b"") -> tuple[float, int, bytes]:
    """CPU seconds of the process, its exit code and output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "XDG_CACHE_HOME": tempfile.gettempdir()}
    done = subprocess.run(command, input=feed, capture_output=True, env=environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.returncode, done.stdout


def collateral(folder: Path) -> str:
    """The collateral of the case in the JSON that dcap-qvl reads."""

    def inner(name: str, key: str) -> str:
        text = (folder / name).read_text()
        return text[text.index(":") + 1 : text.rindex(',"signature"')] if key else text

    chain = (folder / "tcb_signing_chain.pem").read_text()
    return json.dumps({
        "pck_crl_issuer_chain": (folder / "pck_crl_issuer_chain.pem").read_text(),
        "root_ca_crl": (folder / "root_ca_crl.der").read_bytes().hex(),
        "pck_crl": (folder / "pck_crl.der").read_bytes().hex(),
        "tcb_info_issuer_chain": chain,
        "tcb_info": inner("tcb_info.json", "tcbInfo"),
        "tcb_info_signature": json.loads((folder / "tcb_info.json").read_text())["signature"],
        "qe_identity_issuer_chain": chain,
        "qe_identity": inner("qe_identity.json", "enclaveIdentity"),
        "qe_identity_signature": json.loads((folder / "qe_identity.json").read_text())["signature"],
    })  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--peers", default="")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # both sides on one: two may run at different speeds
    if not CASE.is_dir():
        print(f"real evidence is not there: {CASE}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> int:
    quote, bad, one = CASE / "quote.bin", folder / "bad", folder / "collateral.json"
    data = bytearray(quote.read_bytes())
    data[200] ^= 1
    bad.write_bytes(data)
    one.write_text(collateral(CASE))
    words = ["--at", AT, "--json", "--offline"]
    # what the installed script does; -m would add runpy
    start = [sys.executable, "-c", "import sys; from fastness.__main__ import run; sys.exit(run())"]
    ours = {kind: [*start, "verify", str(file), str(one), *words]
            for kind, file in (("good", quote), ("bad", bad))}  # fmt: skip
    theirs = {kind: [options.peers, "-c", PEER, str(file), str(one), UNIX] for kind, file in
              (("good", quote), ("bad", bad))}  # fmt: skip
    floor = [options.peers or sys.executable, "-I", "-c", "pass"]
    _, code, out = cpu(ours["good"])
    assert code == 0 and json.loads(out)["claims"]["tcb_status"] == "UpToDate", out
    assert cpu(ours["bad"])[1] == 4
    if options.peers:
        assert cpu(theirs["good"])[2].strip() == b"UpToDate" and cpu(theirs["bad"])[1] == 1
    rows = []
    for _ in range(options.rounds):
        row = [cpu(floor)[0], cpu(ours["good"])[0]]
        rows.append([*row, cpu(theirs["good"])[0]] if options.peers else row)
    print(f"fastness verify: {statistics.median(row[1] for row in rows) * 1000:.1f} ms CPU, "
          f"{statistics.median(row[1] / row[0] for row in rows):.2f} x an empty interpreter")  # fmt: skip
    line = json.dumps({"paths": [str(quote), str(one)], "at": AT}).encode() + b"\n"
    batch = [*start, "verify", "--batch", "--offline"]
    few, many = cpu(batch, line)[0], cpu(batch, line * 201)[0]
    print(f"resident, files read each time: {(many - few) / 200 * 1e6:.0f} us CPU a quote")
    if not options.peers:
        return 0
    ratio = statistics.median(row[1] / row[2] for row in rows)
    print(
        f"dcap-qvl from Python: {statistics.median(row[2] for row in rows) * 1000:.1f} ms; ratio {ratio:.2f} (<= 1.0)"
    )
    return 0 if ratio <= 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
