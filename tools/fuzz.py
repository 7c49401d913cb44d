"""Fuzzes every parser with atheris: for any bytes, evidence or ``MalformedEvidence``, and nothing else.

pip install atheris
python tools/fuzz.py [TEE …] [-- libFuzzer options, e.g. -max_total_time=60]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from fastness import tee as tees
from fastness.errors import Malformed, MalformedEvidence
from fastness.image.measure import igvm, ovmf
from fastness.tee.sev import launch, secret
from fastness.tee.snp import identity
from fastness.wire import cbor, der, eventlog, x509

PARSERS: tuple[Callable[[bytes], object], ...] = (
    cbor.decode, x509.certificate, x509.crl, eventlog.parse, der.read, launch.measurement, launch.record,
    secret.entries, identity.block, identity.authentication, igvm.pages, ovmf.read,
)  # fmt: skip


def main() -> None:
    """Runs until something escapes, or as long as libFuzzer is told."""
    import atheris  # type: ignore[import-not-found,unused-ignore]

    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    names = sys.argv[1:split] or list(tees.NAMES)
    with atheris.instrument_imports():
        targets = [tees.load(name) for name in names]

    def one(data: bytes) -> None:
        for module in targets:
            module.recognise(data)
            try:
                evidence = module.parse(data)
            except MalformedEvidence:
                continue
            if module.unparse(evidence) != data:
                raise RuntimeError(f"{module.NAME}: unparse(parse(b)) is not b")
        for parse in PARSERS:
            try:
                parse(data)
            except Malformed:
                continue

    atheris.Setup([sys.argv[0], *sys.argv[split + 1 :]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
