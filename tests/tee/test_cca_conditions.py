"""CCA: for single conditions of the verifier, the smallest evidence that tells whether they stand."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

import pytest
from cryptography import x509 as builder
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from fastness.errors import NotGenuine
from fastness.forge import cca as forge
from fastness.pki.anchors import Anchor, Anchors, from_certificate
from fastness.tee import Collateral, cca
from fastness.wire import cbor, cose, x509

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


def test_a_certificate_named_for_a_platform_key_counts_with_its_dates() -> None:
    forged = forge.make({})
    bare = forged.anchors.items[0]
    assert bare.key is not None
    key, day = load_der_public_key(bare.key.raw), timedelta(days=1)
    assert isinstance(key, ec.EllipticCurvePublicKey)

    def named(start: int, end: int) -> Anchor:
        name = builder.Name([builder.NameAttribute(builder.NameOID.COMMON_NAME, "platform")])
        made = builder.CertificateBuilder(name, name, key, 7, forged.at + start * day, forged.at + end * day)
        return from_certificate("cca", x509.certificate(made.sign(KEY, SHA384()).public_bytes(Encoding.DER)))

    def verify(*anchors: Anchor) -> object:
        return cca.verify(cca.parse(forged.evidence), Collateral(), Anchors(anchors), at=forged.at)

    assert verify(named(-1, 1)) and verify(named(-2, -1), named(-1, 1)) and verify(named(-2, -1), bare)
    for start, end in ((-2, -1), (1, 2)):
        with pytest.raises(NotGenuine, match="'platform' of the platform key is not valid") as error:
            verify(named(start, end))
        assert error.value.check == "cca.anchor" and error.value.hint
    with pytest.raises(NotGenuine) as error:
        verify(named(-2, -1)._replace(line="00" * 32))
    assert error.value.check == "cca.implementation"
