"""Azure's vTPMs in the JSON of Constellation and of Intel Trust Authority's client: the quote's parts apart, and the
runtime data without the HCL report around it."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from fastness import verify, verify_all
from fastness.collateral import hcl_forms
from fastness.collateral.gather import gather
from fastness.collateral.heap import Found
from fastness.forge import nitro, snp, tdx, tpm
from fastness.pki import keys
from fastness.pki.anchors import Anchors
from fastness.tee.tpm import hcl
from fastness.tee.tpm.evidence import parse
from fastness.wire import cbor

QUOTE = tpm.make({"trust": "key", "scheme": "rsassa", "pcrs": [0, 3, 7, 11]})
FIELDS = cbor.decode(QUOTE.evidence)
ROWS = FIELDS[5][0x000B]


def runtime(**more):
    number = keys.load(parse(QUOTE.evidence).key).public_numbers().n.to_bytes(256, "big")
    key = {"kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(number).rstrip(b"=").decode()}
    return json.dumps({"keys": [key], "vm-configuration": {"secure-boot": True} | more}).encode()


RUNTIME = runtime()
BOUND = hashlib.sha256(RUNTIME).digest().ljust(64, b"\0")
AROUND = tdx.make({"report_data": BOUND.hex()})


def in64(data):
    return base64.b64encode(data).decode()


def trust_authority(**changed):
    parts = {"quote": FIELDS[2], "signature": FIELDS[3], "pcrs": b"".join(ROWS[index] for index in sorted(ROWS))}
    around = {"runtime_data": changed.pop("runtime", RUNTIME), "quote": AROUND.evidence}
    return {"tdx": {name: in64(item) for name, item in around.items()},
            "tpm": {name: in64(item) for name, item in (parts | changed).items()}}  # fmt: skip


def constellation(camel=False, **changed):
    rows = {str(index): in64(row) for index, row in ROWS.items()} | changed.pop("rows", {})
    quote = {"quote": in64(FIELDS[2]), "rawSig" if camel else "raw_sig": in64(FIELDS[3])}
    quote["pcrs"] = {"hash": "SHA256" if camel else 11, "pcrs": rows}
    weaker = quote | {"pcrs": {"hash": 4, "pcrs": rows}}
    around = {"AttestationReport": in64(AROUND.evidence), "RuntimeData": in64(changed.pop("runtime", RUNTIME))}
    key = in64(parse(QUOTE.evidence).key.raw)
    attestation = {"akPub" if camel else "ak_pub": key, "quotes": [weaker, quote]} | changed
    return {"Attestation": attestation, "InstanceInfo": in64(json.dumps(around).encode())}


def judged(document):
    held = AROUND.collateral
    pieces = [item.raw for item in (*held.certificates, *held.crls)] + [item.data for item in held.documents]
    real = Anchors(tuple(item._replace(simulated=False) for item in AROUND.anchors.items))
    return verify(json.dumps(document).encode(), *pieces, at=AROUND.at, anchors=real)


@pytest.mark.parametrize("form", [trust_authority, constellation, lambda: constellation(camel=True)])
def test_a_vtpm_and_the_machine_around_it(form):
    result = judged(form())
    assert (result.genuine, result.tee, result.within) == (True, "tpm", ("tdx",))
    assert result.claims["tpm"]["ak_trust"] == "hardware-report" and result.claims["cloud"] == "azure"
    assert result.claims["tpm"]["azure"] == {"secure_boot": True}
    assert {"mrtd", "pcr0", "pcr11"} <= set(result.claims["measurements"])


@pytest.mark.parametrize("form", [trust_authority, constellation])
def test_runtime_data_of_another_machine(form):
    """tpm.hardware"""
    result = judged(form(runtime=runtime(other=1)))
    assert (result.genuine, result.error.check) == (False, "tpm.hardware")


def test_runtime_data_without_the_machine_around_it():
    """tpm.ak-trust: it names who would vouch for the key, which is fetched; of another key it says nothing."""
    loose = json.dumps(trust_authority()["tpm"]).encode()
    for parts in ([RUNTIME], [RUNTIME, parse(QUOTE.evidence).key.raw]):  # the key is in it
        result = verify(loose, *parts, at=QUOTE.at)
        assert (result.genuine, result.exit_code, result.error.check) == (None, 5, "tpm.ak-trust")
        assert "report data is the hash of the runtime data" in result.error.hint
        assert verify(loose, *parts, at=QUOTE.at, anchors=QUOTE.anchors).genuine is True
    other = keys.load(parse(tpm.make({"trust": "key", "scheme": "rsassa"}).evidence).key).public_numbers().n
    foreign = json.loads(RUNTIME)
    foreign["keys"][0]["n"] = base64.urlsafe_b64encode(other.to_bytes(256, "big")).rstrip(b"=").decode()
    for runtime_data in (json.dumps(foreign), '{"keys": "HCLAkPub"', '{"keys": ["HCLAkPub"]}'):
        result = verify(loose, runtime_data.encode(), parse(QUOTE.evidence).key.raw, at=QUOTE.at)
        assert (result.exit_code, result.error.check) == (4, "tpm.ak-trust")


def beside(*sources, quote=AROUND):
    held = quote.collateral
    pieces = [item.raw for item in (*held.certificates, *held.crls)] + [item.data for item in held.documents]
    return verify_all(quote.evidence, *sources, *pieces, at=quote.at, anchors=quote.anchors)


def test_runtime_data_without_a_tpms_quote_is_the_machines_or_refused():
    """Nothing is claimed from it, but what stands around another machine's evidence is a mix of two."""
    report = hcl_forms.around([RUNTIME], [Found("tdx", AROUND.evidence, "")])
    other = tdx.make({"report_data": "11" * 64})
    for mine in (RUNTIME, report):
        assert [item.genuine for item in beside(mine)] == [True]
        found = {item.tee: item for item in beside(mine, quote=other)}
        assert found["tdx"].genuine is True and found["tpm"].exit_code == 4
        assert found["tpm"].error.check == "tpm.hardware" and "hash of the runtime data" in found["tpm"].error.what
    alone = verify(report, at=AROUND.at)
    assert (alone.exit_code, alone.error.check) == (5, "tpm.signature")
    alone = verify(RUNTIME, at=AROUND.at)
    assert (alone.exit_code, alone.error.check) == (5, "tpm.hardware")
    assert verify(RUNTIME, nitro.make({}).evidence).tee == "nitro"  # which it says nothing of


def test_of_several_quotes_the_one_around_the_vtpm_counts():
    other = tdx.make({"report_data": "11" * 64})
    held = AROUND.collateral + other.collateral
    pieces = [item.raw for item in (*held.certificates, *held.crls)] + [item.data for item in held.documents]
    document = json.dumps(trust_authority()).encode()
    for sources in ([document, other.evidence, *pieces], [other.evidence, document, *pieces]):
        results = verify_all(*sources, at=AROUND.at, anchors=AROUND.anchors + other.anchors)
        assert {item.tee: (item.genuine, item.within) for item in results} == {
            "tpm": (True, ("tdx",)),
            "tdx": (True, ()),
        }


def test_registers_that_were_not_quoted():
    flat = [ROWS[index] for index in sorted(ROWS)]
    assert judged(trust_authority(pcrs=b"".join([bytes(32), *flat[1:]]))).exit_code == 4
    assert judged(constellation(rows={"3": in64(bytes(32))})).exit_code == 4
    for rows in (flat[:-1], [*flat, bytes(32)], [b"".join(flat)[:-1]], []):  # fit no selection: no part of anything
        found = gather((json.dumps(trust_authority(pcrs=b"".join(rows))).encode(),)).evidence
        assert [item.tee for item in found] == ["tdx"]


@pytest.mark.parametrize("quotes", [None, [], [1], [{"quote": 1}], [{"pcrs": {"pcrs": []}}]])
def test_quotes_that_are_none(quotes):
    assert [item.tee for item in gather((json.dumps(constellation(quotes=quotes)).encode(),)).evidence] == ["tdx"]


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_an_hcl_report_is_put_together_around_the_report_that_speaks_for_it(name):
    bound = hashlib.new(name, RUNTIME).hexdigest()
    ours = snp.make({"report_data": bound.ljust(128, "0")}).evidence
    pile = [Found("cca", b"\0" * 9, ""), Found("snp", snp.make({}).evidence, ""), Found("snp", ours, "")]
    made = hcl.parse(hcl_forms.around([runtime(other=2), RUNTIME], pile))
    assert (made.kind, made.hardware, made.runtime, made.bound.hex()) == ("snp", ours, RUNTIME, bound)
    for kind in ("1.0", "1.5"):  # quotes of version 4 and 5
        quote = tdx.make({"report_data": bound.ljust(128, "0"), "td_report": kind}).evidence
        made = hcl.parse(hcl_forms.around([RUNTIME], [Found("tdx", quote, "")]))
        assert (made.kind, made.report_data.hex(), made.bound.hex()) == ("tdx", bound.ljust(128, "0"), bound)
    assert hcl_forms.around([RUNTIME], pile[:1]) is None
