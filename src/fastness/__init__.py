"""Fastness: run a WebAssembly workload on a machine its owner does not trust.

The package is imported lazily: ``import fastness`` costs nothing but this file. ``from fastness import verify`` is
:func:`fastness.attestation.verify`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastness.attestation import verify, verify_all
    from fastness.result import Result

__version__ = "0.1.0"
__all__ = ["Result", "__version__", "verify", "verify_all"]

_LAZY = {"verify": "attestation", "verify_all": "attestation", "Result": "result"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastness' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fastness.{_LAZY[name]}"), name)
