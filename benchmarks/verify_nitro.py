"""How much a Nitro document costs beyond the one P-384 verification that cannot be saved.

Steady state: distinct documents of one module, parsed and verified; the path is remembered, the document's own
signature is always checked. Floor and verification are interleaved and counted in CPU time of this
process, so that a busy machine slows both alike; the ratio of medians of rounds is the number. In the same run every
tampered document must be refused, or the run fails.

Run: PYTHONPATH=src python benchmarks/verify_nitro.py [documents]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384

from fastness.errors import NotGenuine
from fastness.forge import nitro as forge
from fastness.forge.model import Forged
from fastness.pki import keys
from fastness.tee import nitro

LIMIT = 1.2
ROUND = 10


def verify(forged: Forged) -> None:
    nitro.verify(nitro.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at)


def claim(forged: Forged) -> None:
    nitro.claims(nitro.verify(nitro.parse(forged.evidence), forged.collateral, forged.anchors, at=forged.at))


def tampered(forged: Forged) -> bytes:
    """The document with one bit of its nonce changed; everything else is right."""
    evidence = nitro.parse(forged.evidence)
    place = evidence.spans["nonce"].offset
    data = bytearray(forged.evidence)
    data[place] ^= 1
    return bytes(data)


def refused(forged: Forged) -> bool:
    """Whether the tampered document is refused, and for its signature."""
    try:
        nitro.verify(nitro.parse(tampered(forged)), forged.collateral, forged.anchors, at=forged.at)
    except NotGenuine as error:
        return error.check == "nitro.signature"
    return False


def floor(forged: Forged) -> Callable[[], None]:
    """The bare verification of this document's signature, with everything else ready."""
    evidence = nitro.parse(forged.evidence)
    key = keys.load(evidence.certificate.key)
    raw = evidence.message.signature
    signature = utils.encode_dss_signature(int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))
    data, algorithm = evidence.message.to_be_signed(), ec.ECDSA(SHA384())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("the leaf is no elliptic-curve key")
    return lambda: key.verify(signature, data, algorithm)


def spent(work: Sequence[Callable[[], None]]) -> float:
    start = time.process_time_ns()
    for item in work:
        item()
    return (time.process_time_ns() - start) / len(work) / 1000


def main(count: int) -> int:
    documents = forge.many({"public_key": "aa" * 294}, count)
    verify(documents[0])
    rows: dict[str, list[float]] = {"floor": [], "verify": [], "verify and claims": []}
    for start in range(0, count - ROUND + 1, ROUND):
        part = documents[start : start + ROUND]
        rows["floor"].append(spent([floor(item) for item in part]))
        rows["verify"].append(spent([lambda item=item: verify(item) for item in part]))
        rows["verify and claims"].append(spent([lambda item=item: claim(item) for item in part]))
        if not all(refused(item) for item in part):
            print("FAILED: a tampered document was accepted")
            return 1
    base = statistics.median(rows["floor"])
    for name, values in rows.items():
        median = statistics.median(values)
        print(f"{name:18} {median:8.1f} us  ratio {median / base:.3f}")
    ratio = statistics.median(rows["verify"]) / base
    print(
        f"{len(rows['floor']) * ROUND} distinct documents, as many tampered ones refused; "
        f"ratio {ratio:.3f}, limit {LIMIT}"
    )
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
