"""A real TPM implementation: keys, quotes and credential activation made by it, judged by us."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tpm_parts import WHEN, certificate, owner

from fastness.errors import MissingCollateral, NotGenuine
from fastness.pki import anchors, keys
from fastness.pki.anchors import Anchors
from fastness.tee import Collateral, Document, tpm
from fastness.tee.tpm import credential, structures
from fastness.wire import cbor
from swtpm import AK_ECC, AK_PSS, AK_RSA, EK_ECC, EK_RSA, ENDORSEMENT, LOOSE, OWNER, Tpm


@pytest.fixture(scope="module")
def real() -> Iterator[Tpm]:
    with Tpm() as running:
        yield running


def collect(real: Tpm, template: bytes, extra: dict[str, bytes] | None = None, bank: int = 0x000B) -> bytes:
    handle, public = real.create(OWNER, template)
    real.extend(16, b"keep")
    attest, signature = real.quote(handle, b"nonce", [0, 16, 23], bank)
    values = cbor.encode({bank: real.read([0, 16, 23], bank)})
    real.flush(handle)
    return tpm.assemble({"quote": attest, "signature": signature, "ak": public, "pcrs": values} | (extra or {}))


@pytest.mark.parametrize("template", [AK_RSA, AK_PSS, AK_ECC], ids=["rsassa", "rsapss", "ecdsa"])
@pytest.mark.parametrize("bank", [0x000B, 0x000C])
def test_quote(real: Tpm, template: bytes, bank: int) -> None:
    data = collect(real, template, bank=bank)
    claims = tpm.claims(tpm.verify(tpm.parse(data), Collateral(), owner(data), at=WHEN))
    assert claims.report_data == b"nonce".hex()
    assert claims.extra["bank"] == {0x000B: "sha256", 0x000C: "sha384"}[bank]
    assert claims.hardware_id == keys.fingerprint(tpm.parse(data).key)


def test_unrestricted_key(real: Tpm) -> None:
    data = collect(real, LOOSE)
    with pytest.raises(NotGenuine) as caught:
        tpm.verify(tpm.parse(data), Collateral(), owner(data), at=WHEN)
    assert caught.value.check == "tpm.ak-attributes"


@pytest.mark.parametrize("template", [EK_RSA, EK_ECC], ids=["rsa", "ecc"])
def test_credential_activation(real: Tpm, template: bytes) -> None:
    ek, ek_public = real.create(ENDORSEMENT, template)
    ak, ak_public = real.create(OWNER, AK_ECC)
    key, name = structures.public(ek_public), structures.public(ak_public).name
    secret = b"0123456789abcdef0123456789abcdef"
    blob, sealed = credential.make_credential(key, name, secret)
    answer = real.activate(ak, ek, blob, sealed)
    assert answer == secret
    # the template's parameters are those that a bare key stands for
    blob, sealed = credential.make_credential(key.spki, name, secret)
    assert real.activate(ak, ek, blob, sealed) == secret

    attest, signature = real.quote(ak, b"nonce", [16])
    values = cbor.encode({0x000B: real.read([16])})
    root, leaf = certificate(key.spki)
    data = tpm.assemble({"quote": attest, "signature": signature, "ak": ak_public, "pcrs": values,
                         "ek_certificate": leaf.raw, "activation": answer})  # fmt: skip
    record = credential.Transcript(bytes.fromhex(keys.fingerprint(key.spki)), name, secret)
    trusted = Anchors((anchors.from_certificate("tpm", root),))
    kept = Collateral(documents=(Document("tpm-activation", record.encode()),))
    genuine = tpm.verify(tpm.parse(data), kept, trusted, at=WHEN)
    assert tpm.claims(genuine).extra["ak_trust"] == "credential"
    assert tpm.claims(genuine).extra["ak_name"] == name.hex()
    assert "restricted" in tpm.claims(genuine).extra["ak_attributes"]
    assert tpm.claims(genuine).hardware_id == keys.fingerprint(key.spki)
    with pytest.raises(MissingCollateral):
        tpm.verify(tpm.parse(data), Collateral(), trusted, at=WHEN)
    for wrong in (
        credential.Transcript(record.ek, name, bytes(32)),
        credential.Transcript(record.ek, name[:-1] + b"\0", secret),
        credential.Transcript(bytes(32), name, secret),
    ):
        with pytest.raises(NotGenuine) as caught:
            tpm.verify(tpm.parse(data), Collateral(documents=(Document("tpm-activation", wrong.encode()),)), trusted,
                       at=WHEN)  # fmt: skip
        assert caught.value.check == "tpm.activation"
    for handle in (ak, ek):
        real.flush(handle)
