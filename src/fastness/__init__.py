"""Fastness: run a WebAssembly workload on a machine its owner does not trust.

The package is imported lazily: ``import fastness`` costs nothing but this file.
"""

from __future__ import annotations

__version__ = "0.1.0"
