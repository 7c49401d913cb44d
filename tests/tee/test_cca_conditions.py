"""CCA: for single conditions of the verifier, the smallest evidence that tells whether they stand."""

from __future__ import annotations

from importlib import import_module

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384

from fastness.wire import cbor, cose

verifying = import_module("fastness.tee.cca.verify")
KEY = ec.generate_private_key(ec.SECP384R1())


def test_a_signature_has_one_encoding() -> None:
    """With zeros between its halves it would be the same two numbers."""
    header = {cose.ALG: cose.ES384}
    message = cose.Sign1(cbor.encode(header), header, {}, b"payload", b"", tagged=False)
    halves = utils.decode_dss_signature(KEY.sign(message.to_be_signed(), ec.ECDSA(SHA384())))
    for size, holds in ((48, True), (49, False), (50, False)):
        signature = halves[0].to_bytes(48, "big") + halves[1].to_bytes(size, "big")
        signed = cose.Sign1(cbor.encode(header), header, {}, b"payload", signature, tagged=False)
        assert verifying._signed(signed, KEY.public_key()) is holds
