"""Fuzzes every parser with atheris: for any bytes, a value or one of our own errors, and nothing else.

pip install atheris
python tools/fuzz.py [TEE …] [-- libFuzzer options, e.g. -max_total_time=60]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

PARSERS = (
    "wire.cbor:decode", "wire.der:read", "wire.x509:certificate", "wire.x509:crl", "wire.eventlog:parse",
    "tee.sev.launch:measurement", "tee.sev.launch:record", "tee.sev.secret:entries", "tee.snp.identity:block",
    "tee.snp.identity:authentication", "image.measure.igvm:pages", "image.measure.ovmf:read",
)  # fmt: skip
"""``module:function`` below ``fastness``; imported where atheris can see how bytes steer them."""


def main() -> None:
    """Runs until something escapes, or as long as libFuzzer is told."""
    import atheris  # type: ignore[import-not-found,unused-ignore]

    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    with atheris.instrument_imports():
        from fastness import tee as tees
        from fastness.errors import Malformed

        targets = [tees.load(name) for name in sys.argv[1:split] or tees.NAMES]
        parsers: list[Callable[[bytes], object]] = [
            getattr(import_module(f"fastness.{module}"), name)
            for module, _, name in (item.partition(":") for item in PARSERS)
        ]

    def one(data: bytes) -> None:
        for module in targets:
            module.recognise(data)
            try:
                evidence = module.parse(data)
            except Malformed:
                continue
            if module.unparse(evidence) != data:
                raise RuntimeError(f"{module.NAME}: unparse(parse(b)) is not b")
        for parse in parsers:
            try:
                parse(data)
            except Malformed:
                continue

    atheris.Setup([sys.argv[0], *sys.argv[split + 1 :]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
