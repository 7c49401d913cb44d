"""DCAP verification against its floor and, where there, against dcap-qvl: CPU time, interleaved rounds, ratios.

Every quote timed is distinct (forged, one platform per run), so that no result can be remembered; the certificates and
the collateral are remembered in the steady state, and forgotten before every verification in the cold one. A machine
that is met for the first time by whoever has met another of Intel's is ``new machine``: all is forgotten but Intel's
three CA certificates. Each timed verifier must refuse a tampered copy in the same run.

    python benchmarks/verify_dcap.py [--rounds 15] [--quotes 40] [--peers PYTHON]
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

from cryptography.exceptions import InvalidSignature  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, utils  # noqa: E402
from cryptography.hazmat.primitives.hashes import SHA256  # noqa: E402

from fastness.errors import NotGenuine  # noqa: E402
from fastness.forge import dcap_vendor, sgx, tdx  # noqa: E402
from fastness.forge.dcap import Maker, report_datas  # noqa: E402
from fastness.forge.model import Forged  # noqa: E402
from fastness.pki import chain, keys  # noqa: E402
from fastness.pki.anchors import vendor  # noqa: E402
from fastness.tee import Collateral, Document, load  # noqa: E402
from fastness.tee.dcap import certification, documents, endorse, members, pck  # noqa: E402
from fastness.tee.dcap import verify as dcap_verify  # noqa: E402
from fastness.wire import der, x509  # noqa: E402
from fastness.wire import pem as armour  # noqa: E402

FORGES = {"sgx": sgx, "tdx": tdx}

PEER = r"""
import json, sys, time
import dcap_qvl
rounds = int(sys.argv[1])
q, c, at = bytes.fromhex(sys.stdin.readline()), sys.stdin.readline(), int(sys.stdin.readline())
parsed = dcap_qvl.QuoteCollateralV3.from_json(c)
bad = bytearray(q); bad[200] ^= 1
try:
    dcap_qvl.verify(bytes(bad), parsed, at); raise SystemExit("peer accepts a tampered quote")
except ValueError: pass
for line in sys.stdin:
    n = int(line)
    t = time.process_time()
    for _ in range(n): dcap_qvl.verify(q, parsed, at)
    a = (time.process_time() - t) / n
    t = time.process_time()
    for _ in range(n): dcap_qvl.verify(q, dcap_qvl.QuoteCollateralV3.from_json(c), at)
    print(json.dumps([a, (time.process_time() - t) / n]), flush=True)
"""


def timed(work: Callable[[], object], count: int) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) / count


def floor(count: int) -> Callable[[], None]:
    private = dcap_vendor.key()
    public, digest = private.public_key(), bytes(range(32))
    algorithm = ec.ECDSA(utils.Prehashed(SHA256()))
    signatures = [private.sign(digest, algorithm) for _ in range(count)]

    def run() -> None:
        for item in signatures:
            public.verify(item, digest, algorithm)

    try:
        public.verify(signatures[0], bytes(32), algorithm)
    except InvalidSignature:
        return run
    raise SystemExit("the floor accepts a wrong digest")


def many(name: str, count: int) -> tuple[Forged, list[bytes]]:
    forge = FORGES[name]
    maker = Maker(name, {})
    first = maker.forged(forge.body({}))
    return first, [maker.quote(forge.body({"report_data": data.hex()})) for data in report_datas(count)]


def steady(name: str, forged: Forged, quotes: list[bytes]) -> Callable[[], None]:
    tee = load(name)
    bad = bytearray(quotes[0])
    bad[200] ^= 1
    try:
        tee.verify(tee.parse(bytes(bad)), forged.collateral, forged.anchors, at=forged.at)
    except NotGenuine:
        pass
    else:
        raise SystemExit("a tampered quote is accepted")

    def run() -> None:
        for raw in quotes:
            tee.verify(tee.parse(raw), forged.collateral, forged.anchors, at=forged.at)

    return run


def forget() -> None:
    """Forgets every judgement and value made of these inputs; the words of all vendors (identifiers) stay known."""
    endorse.memory.clear()
    endorse._last.clear()
    chain.memo._held.clear()
    x509._known.clear()
    certification._known.clear()
    for cached in (
        documents._known_info,
        dcap_verify._attestation_key,
        documents._known_identity,
        pck._read,
        keys.load,
        keys._fingerprint,
        x509.read_common_name,
        x509._key_usage,
        x509._basic_constraints,
        members._instant,
        der._time,
    ):
        cached.cache_clear()  # type: ignore[union-attr]


def real(name: str, count: int) -> tuple[Callable[[bool], float], str] | None:
    """CPU seconds of one of ``count`` first verifications of a real quote from raw bytes, Intel's CAs met or not; and
    the same for the peer as input lines."""
    from vectors import ROOT, case

    folder = {"sgx": "sgx/v3-config-swhardening", "tdx": "tdx/v4-uptodate"}[name]
    if not (ROOT / folder).is_dir():
        return None
    found = case(folder)
    files, tee = found.files, load(name)
    assert found.at is not None
    at = found.at

    chains = ("tcb_signing_chain", "pck_crl_issuer_chain")
    authorities = {raw for role in chains for _, raw in armour.unarmour(files[role])}

    def first(met: bool) -> float:
        spent = 0.0
        for _ in range(count):
            forget()
            for raw in authorities if met else ():
                keys.load(x509.certificate(raw).key)
            spent += timed(once, 1)
        return spent / count

    def once() -> None:
        certificates = [armour.unarmour(files[role]) for role in chains]
        collateral = Collateral(
            tuple(x509.certificate(der) for part in certificates for _, der in part),
            (x509.crl(files["pck_crl"]), x509.crl(files["root_ca_crl"])),
            (Document("tcb-info", files["tcb_info"]), Document("qe-identity", files["qe_identity"])),
        )
        tee.verify(tee.parse(files["quote"]), collateral, vendor(), at=at)

    outer = [members.envelope(files[role], key) for role, key in
             (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity"))]  # fmt: skip
    theirs = {
        "tcb_info_issuer_chain": files["tcb_signing_chain"].decode(),
        "tcb_info": outer[0][0].decode(), "tcb_info_signature": outer[0][2].hex(),
        "qe_identity_issuer_chain": files["tcb_signing_chain"].decode(),
        "qe_identity": outer[1][0].decode(), "qe_identity_signature": outer[1][2].hex(),
        "pck_crl": files["pck_crl"].hex(), "root_ca_crl": files["root_ca_crl"].hex(),
        "pck_crl_issuer_chain": files["pck_crl_issuer_chain"].decode(),
    }  # fmt: skip
    return first, "\n".join((files["quote"].hex(), json.dumps(theirs), str(int(at.timestamp())))) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quotes", type=int, default=40)
    parser.add_argument("--peers", default=sys.executable)
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # both sides on one: two may run at different speeds
    for name in FORGES:
        bench(name, options.rounds, options.quotes, options.peers)


def bench(name: str, rounds: int, count: int, python: str) -> None:
    forged, quotes = many(name, count)
    work = {"P-256 floor": floor(count), "steady": steady(name, forged, quotes)}
    from_files = real(name, count)
    peer = start(python, from_files[1]) if from_files else None
    rows: dict[str, list[float]] = {}
    for _ in range(rounds):
        for key, run in work.items():
            if key == "steady":
                load(name).verify(load(name).parse(quotes[0]), forged.collateral, forged.anchors, at=forged.at)
            rows.setdefault(key, []).append(timed(run, count))
        for key, met in (("cold", False), ("new machine", True)) if from_files else ():
            rows.setdefault(key, []).append(from_files[0](met))
        if peer is not None and peer.stdin and peer.stdout:
            peer.stdin.write(f"{count}\n")
            peer.stdin.flush()
            for key, value in zip(
                ("dcap-qvl verify", "dcap-qvl from_json+verify"), json.loads(peer.stdout.readline()), strict=True
            ):
                rows.setdefault(key, []).append(value)
    if peer is not None and peer.stdin:
        peer.stdin.close()
        peer.wait()
    for key, values in rows.items():
        print(f"{name} {key:28} {statistics.median(values) * 1e6:8.1f} µs")
    for upper, lower, bound in (
        ("steady", "P-256 floor", 2.7), ("steady", "dcap-qvl verify", 0.25), ("cold", "dcap-qvl from_json+verify", 1.5),
        ("new machine", "dcap-qvl from_json+verify", 1.5),
    ):  # fmt: skip
        if upper in rows and lower in rows:
            ratio = statistics.median(a / b for a, b in zip(rows[upper], rows[lower], strict=True))
            print(f"{name} {upper} / {lower} = {ratio:.2f} (bound {bound}) {'ok' if ratio <= bound else 'OVER'}")


def start(python: str, lines: str) -> subprocess.Popen[str] | None:
    """The peer in its own process, fed rounds through its input; None where it cannot be imported."""
    if subprocess.run([python, "-c", "import dcap_qvl"], capture_output=True, check=False).returncode:
        print(f"dcap_qvl is not importable by {python}: no comparison", file=sys.stderr)
        return None
    found = subprocess.Popen([python, "-c", PEER, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if found.stdin:
        found.stdin.write(lines)
    return found


if __name__ == "__main__":
    main()
