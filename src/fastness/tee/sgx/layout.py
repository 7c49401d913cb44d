"""Layout of SGX quotes: container and report body are those of :mod:`fastness.tee.dcap.layout`.

The body is the enclave's report, 384 bytes, at byte 48 (version 5: byte 54, behind body type 1 and size).
"""

from __future__ import annotations

from fastness.tee.dcap.layout import SGX_DEBUG, SGX_FLAGS, TEE_SGX, XFRM_BITS

__all__ = ["SGX_DEBUG", "SGX_FLAGS", "TEE_SGX", "XFRM_BITS"]
