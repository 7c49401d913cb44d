"""Fetching from servers that speak KDS, PCS, RIM and OCSP, and from servers that misbehave."""

from __future__ import annotations

import base64
import json
import stat
import urllib.parse
from datetime import UTC, datetime, timedelta

import judged
import pytest
from service import Reply, counted, serving

import vectors
from fastness.claims.finding import Outcome
from fastness.claims.model import Claims
from fastness.collateral import fetch, kds, pcs, rim
from fastness.collateral.http import Client, NotThere
from fastness.collateral.store import Entry, Store, folder
from fastness.collateral.supply import Supply
from fastness.errors import RemoteError, UsageError
from fastness.forge import nvgpu as forge
from fastness.tee import Collateral
from fastness.wire import pem, x509

FMSPC = "B0C06F000000"
TCB = f"/tdx/certification/v4/tcb?fmspc={FMSPC}"
IDENTITY = "/tdx/certification/v4/qe/identity"
PLATFORM, ROOT = "/sgx/certification/v4/pckcrl?ca=platform&encoding=der", "/sgx/certification/v4/rootcacrl"


@pytest.fixture
def service(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        for name in ("FASTNESS_KDS_URL", "FASTNESS_PCS_URL", "FASTNESS_RIM_URL", "FASTNESS_OCSP_URL"):
            monkeypatch.setenv(name, running.url)
        yield running


def intel(service, case):
    chain = urllib.parse.quote(case.files["tcb_signing_chain"].decode())
    issuer = urllib.parse.quote(case.files["pck_crl_issuer_chain"].decode())
    service.say(TCB, Reply(case.files["tcb_info"], headers={"TCB-Info-Issuer-Chain": chain}))
    service.say(IDENTITY, Reply(case.files["qe_identity"], headers={"SGX-Enclave-Identity-Issuer-Chain": chain}))
    service.say(PLATFORM, Reply(case.files["pck_crl"], headers={"SGX-PCK-CRL-Issuer-Chain": issuer}))
    service.say(ROOT, Reply(case.files["root_ca_crl"].hex().encode()))


def impatient(**options):
    slept, sleep = counted()
    return slept, Client(timeout=0.3, deadline=0.6, attempts=3, sleep=sleep, **options)


# the client


def test_a_right_answer(service):
    service.say("/x", Reply(b"body", headers={"X-Chain": "a%20b"}))
    answer = impatient()[1].get(service.url + "/x")
    assert answer.body == b"body" and answer.headers["x-chain"] == "a%20b"


def test_404_is_not_tried_again(service):
    slept, client = impatient()
    with pytest.raises(NotThere, match="404"):
        client.get(service.url + "/x")
    assert len(service.asked) == 1 and not slept


def test_429_waits_as_long_as_it_is_told(service):
    slept, client = impatient()
    service.say("/x", Reply(status=429, headers={"Retry-After": "7"}), Reply(status=429), b"at last")
    assert client.get(service.url + "/x").body == b"at last"
    assert slept == [7.0, 10.0]


def test_retry_after_is_bounded(service):
    slept, client = impatient()
    service.say("/x", Reply(status=503, headers={"Retry-After": "86400"}), b"ok")
    client.get(service.url + "/x")
    assert slept == [60.0]


def test_cut_and_stalled_answers_are_tried_again_then_refused(service):
    slept, client = impatient()
    service.say("/cut", Reply(b"x" * 1000, cut=400))
    with pytest.raises(RemoteError):
        client.get(service.url + "/cut")
    assert len(service.asked) == 3 and len(slept) == 2
    service.say("/stall", Reply(b"x", stall=1.0), b"quick")
    assert client.get(service.url + "/stall").body == b"quick"


def test_an_answer_that_drips_is_given_up(service):
    """The head of an answer, too: each byte comes in time, and all of them together do not."""
    service.say("/x", Reply(b"ok", drip=0.1))
    slept, client = impatient()
    with pytest.raises(RemoteError, match="cannot be reached"):
        client.get(service.url + "/x")
    assert len(slept) == 2


def test_too_much_is_refused(service, monkeypatch):
    monkeypatch.setattr("fastness.collateral.http.MAX_BODY", 1000)
    service.say("/x", b"x" * 5000)
    with pytest.raises(RemoteError, match="more than 1000"):
        impatient()[1].get(service.url + "/x")


def test_a_redirect_to_another_host_is_refused(service):
    service.say("/x", Reply(status=302, headers={"Location": "http://localhost:1/y"}))
    with pytest.raises(RemoteError, match="redirects to another host") as caught:
        impatient()[1].get(service.url + "/x")
    assert "http://localhost:1/y" in caught.value.hint
    with pytest.raises(RemoteError, match="not an http address"):
        impatient()[1].get("file:///etc/passwd")


def test_nobody_there():
    slept, client = impatient()
    with pytest.raises(RemoteError, match="cannot be reached"):
        client.get("http://127.0.0.1:9/")
    assert len(slept) == 2


def test_requests_to_one_host_are_spaced(service):
    slept, client = impatient(spacing={"127.0.0.1": 10.0}, clock=lambda: 100.0)
    service.say("/x", b"ok")
    client.get(service.url + "/x")
    client.get(service.url + "/x")
    assert slept == [10.0]


# what is asked


def test_kds_addresses():
    chip = bytes(range(64))
    milan = kds.vcek("Milan", chip, bytes([4, 0, 0, 0, 0, 0, 24, 219]))
    assert milan.url.endswith(f"/vcek/v1/Milan/{chip.hex()}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219")
    turin = kds.vcek("Turin", chip, bytes([1, 2, 3, 4, 0, 0, 0, 5]))
    assert turin.url.endswith("/vcek/v1/Turin/0001020304050607?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=05")
    assert kds.line_of(0x19, 0x01) == "Milan" and kds.line_of(0x19, 0xA0) == kds.line_of(0x19, 0x11) == "Genoa"
    assert kds.line_of(0x1A, 0x02) == "Turin" and kds.line_of(0x1A, 0x50) == "Venice" and kds.line_of(6, 1) is None
    assert kds.line_of(0x1A, 0x24) is kds.line_of(0x19, 0x21) is None


@vectors.needs_vectors
def test_kds_plan_of_a_report():
    report = vectors.case("snp/turin-v5-vcek-azure").files["report"]
    urls = [item.url for item in kds.of_report(report, vlek=False)]
    assert [url.split("/v1/")[1].split("/")[1][:5] for url in urls][1:] == ["cert_", "crl"] and len(urls) == 3
    vlek = vectors.case("snp/milan-v3-vlek-aws").files["report"]
    assert [item.url.rsplit("com", 1)[1] for item in kds.of_report(vlek, vlek=True)] == [
        "/vlek/v1/Milan/cert_chain", "/vlek/v1/Milan/crl"]  # fmt: skip


def test_rim_names_and_ocsp_request():
    assert rim.driver("GH100", "535.86.09").url.endswith("/v1/rim/NV_GPU_DRIVER_GH100_535.86.09")
    assert rim.driver("GB100", "575.32").key.endswith("NV_GPU_CC_DRIVER_GB100_575.32")
    assert rim.switch("96.10.55.00.01").key.endswith("NV_SWITCH_BIOS_5612_0002_890_9610550001")
    assert rim.vbios("5612", "0002", "890", "96.00.9f.00.01").key.endswith("NV_GPU_VBIOS_5612_0002_890_96009F0001")
    with pytest.raises(UsageError):
        rim.manifest("../../etc")


@vectors.needs_vectors
def test_ocsp_request_is_what_others_make():
    from cryptography import x509 as theirs
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import ocsp

    chain = [block for _, block in pem.unarmour(vectors.case("nvgpu/hopper-sample").files["cert_chain"])]
    leaf, issuer = (theirs.load_der_x509_certificate(chain[index]) for index in (0, 1))
    wanted = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, SHA256()).build()
    made = ocsp.load_der_ocsp_request(rim.ocsp_request(x509.certificate(chain[0]), x509.certificate(chain[1])))
    assert (made.serial_number, made.issuer_name_hash, made.issuer_key_hash) == (
        wanted.serial_number, wanted.issuer_name_hash, wanted.issuer_key_hash)  # fmt: skip


@vectors.needs_vectors
@pytest.mark.parametrize(
    ("name", "manifests"),
    [
        ("hopper-sample", ["NV_GPU_DRIVER_GH100_550.90.07", "NV_GPU_VBIOS_1010_0200_882_96009F0001"]),
        ("blackwell", ["NV_GPU_CC_DRIVER_GB100_575.32", "NV_GPU_VBIOS_G525_0220_886_970088000F"]),
        ("switch-ls10", ["NV_SWITCH_BIOS_5612_0002_890_9610550001"]),
    ],
)
def test_what_a_gpu_or_switch_wants(name, manifests):
    judged.installed("nvgpu")
    from fastness import tee

    case = vectors.case(f"nvgpu/{name}")
    chain = tuple(x509.certificate(block) for _, block in pem.unarmour(case.files["cert_chain"]))
    plan = fetch.plan("nvgpu", tee.load("nvgpu").parse(case.files["report"]), Collateral(chain))
    assert [item.url.rsplit("/", 1)[1] for item in plan if item.kinds == ("rim",)] == manifests
    # neither of the root, which is pinned, nor of the leaf, which the device makes itself
    assert len([item for item in plan if item.kinds == ("ocsp",)]) == len(chain) - 2


def test_rim_is_unwrapped(service, tmp_path):
    manifest = next(item.data for item in forge.make({}).collateral.documents if b"550.90.07" in item.data)
    service.say("/v1/rim/A_550.90.07", json.dumps({"id": "A", "rim": base64.b64encode(manifest).decode()}).encode())
    service.say("/v1/rim/B", b"{}")
    got = fetch.obtain(rim.manifest("A_550.90.07"), Store(tmp_path), impatient()[1], at=datetime.now(UTC))
    assert got.of("rim")[0].data == manifest
    with pytest.raises(RemoteError, match="something else"):
        fetch.obtain(rim.manifest("B"), Store(tmp_path), impatient()[1], at=datetime.now(UTC))


# through the command line


@vectors.needs_vectors
def test_fetch_then_verify_from_the_cache(service, capsys):
    case = vectors.case("tdx/v4-uptodate")
    quote = case.path / "quote.bin"
    at = ["--at", case.at.isoformat()]
    intel(service, case)
    assert judged.run(capsys, "verify", quote, *at, "--offline", "--json").code == 5
    done = judged.run(capsys, "collateral", "fetch", quote, "--json")
    assert done.code == 0 and [row["error"] for row in done.document["wanted"]] == [""] * 4
    assert sorted(service.asked) == sorted([TCB, IDENTITY, PLATFORM, ROOT])
    # the cache serves nothing past its signed validity: at the time of the evidence it serves, now it does not
    answer = judged.run(capsys, "verify", quote, *at, "--offline", "--json")
    assert answer.code == 0 and answer.document["claims"]["tcb_status"] == "UpToDate"
    assert judged.run(capsys, "verify", quote, "--offline", "--json").code == 5
    shown = judged.run(capsys, "collateral", "show", "--json").document
    assert len(shown["entries"]) == 4 and not any(row["usable"] for row in shown["entries"])
    for path in folder().glob("*.entry"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@vectors.needs_vectors
def test_verify_fetches_by_itself_unless_told_not_to(service, capsys):
    case = vectors.case("tdx/v4-uptodate")
    intel(service, case)
    words = ["verify", case.path / "quote.bin", "--at", case.at.isoformat(), "--json"]
    assert judged.run(capsys, *words, "--offline").code == 5 and not service.asked
    assert judged.run(capsys, *words).code == 0 and service.asked
    count = len(service.asked)
    assert judged.run(capsys, *words).code == 0 and len(service.asked) == count


@vectors.needs_vectors
def test_a_policy_has_the_lists_fetched(service, capsys):
    case = vectors.case("tdx/v4-uptodate--crl-missing")
    intel(service, vectors.case("tdx/v4-uptodate"))
    words = ["verify", case.path, "--at", case.at.isoformat(), "--json", "--policy", "default"]
    assert judged.run(capsys, *words, "--offline").code == 1
    assert judged.run(capsys, *words).code == 0


@vectors.needs_vectors
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b"<html>please log in</html>"), "something else"),
        (Reply(b'{"tcbInfo":{"fmspc":"000000000000"},"signature":"00"}'), "another platform"),
        (Reply(b"", 200), "something else"),
        (Reply(b"gone", 404), "not there"),
    ],
)
def test_wrong_content_is_refused_and_not_cached(service, capsys, reply, said):
    case = vectors.case("tdx/v4-uptodate")
    intel(service, case)
    service.say(TCB, reply)
    done = judged.run(capsys, "collateral", "fetch", case.path / "quote.bin", "--json", "--attempts", "1")
    rows = {row["key"]: row["error"] for row in done.document["wanted"]}
    assert done.code == 6 and said in rows[pcs.tcb_info("tdx", FMSPC.lower()).key]
    assert len(list(folder().glob("*.entry"))) == 3


# the store


def test_the_store(tmp_path):
    store = Store(tmp_path / "new")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    entry = Entry("key", "url", "then", "2026-02-01T00:00:00Z", (b"a", b"b"))
    store.put(entry)
    assert store.get("key", now) == entry and store.get("other", now) is None
    assert store.get("key", now + timedelta(days=31, seconds=1)) is None
    file = next((tmp_path / "new").glob("*.entry"))
    for damage in (b"", b"{}", b"[]", b"\xff", file.read_bytes().replace(b"YQ==", b"!!!!")):
        file.write_bytes(damage)
        assert store.get("key", now) is None
    assert not [name for name in (tmp_path / "new").iterdir() if name.name.startswith(".")]
    Store(tmp_path / "new" / file.name / "below").put(entry)  # a place that cannot be: nothing is lost but the cache


@vectors.needs_vectors
def test_an_old_report_names_no_line(service, capsys):
    """Milan or Genoa: that the one is not there is no failure if the other is, and issuers beside it tell."""
    case = vectors.case("snp/milan-v2-vcek-azure")
    report = case.files["report"]
    wanted = kds.of_report(report, vlek=False)
    assert len(wanted) == 6 and len({item.alternative for item in wanted}) == 3
    told = kds.of_report(report, vlek=False, names=["SEV-Milan", "ARK-Milan", "Genoa"])
    assert [item.key for item in told] == [item.key for item in wanted if "/Milan/" in item.key]
    assert not any(item.alternative for item in told)
    milan, genoa = (next(item for item in wanted if f"/vcek/v1/{line}/" in item.url) for line in ("Milan", "Genoa"))
    service.say(milan.url.removeprefix(service.url), (case.path / "vek.der").read_bytes())
    done = judged.run(capsys, "collateral", "fetch", case.path / "report.bin", "--attempts", "1", "--json")
    rows = {row["key"]: row["error"] for row in done.document["wanted"]}
    assert rows[milan.key] == "" and genoa.key not in rows
    service.say(milan.url.removeprefix(service.url), Reply(b"no", 404))
    for path in folder().glob("*.entry"):
        path.unlink()
    done = judged.run(capsys, "collateral", "fetch", case.path / "report.bin", "--attempts", "1", "--json")
    assert done.code == 6 and {milan.key, genoa.key} <= {row["key"] for row in done.document["wanted"] if row["error"]}


@vectors.needs_vectors
def test_a_host_that_nobody_answers_at_is_asked_once(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    quote = vectors.case("tdx/v4-uptodate").path / "quote.bin"
    nowhere = "http://127.0.0.1:9"
    done = judged.run(capsys, "collateral", "fetch", quote, "--pcs", nowhere, "--attempts", "1", "--json")
    assert done.code == 6 and done.words.count("asking ") == 1
    rows = done.document["wanted"]
    assert len(rows) == 4 and all("cannot be reached" in row["error"] for row in rows)


def test_every_dimension_is_in_the_key():
    chip, tcb = bytes(64), bytes(8)
    keys = {
        kds.vcek("Milan", chip, tcb).key, kds.vcek("Genoa", chip, tcb).key, kds.vcek("Turin", chip, tcb).key,
        kds.vcek("Turin", chip, b"\1" + tcb[1:]).key, kds.vcek("Milan", b"\1" + chip[1:], tcb).key,
        kds.crl("Milan", "vcek").key, kds.crl("Milan", "vlek").key, kds.issuers("Milan", "vcek").key,
        pcs.tcb_info("sgx", "00").key, pcs.tcb_info("tdx", "00").key, pcs.tcb_info("tdx", "01").key,
        pcs.qe_identity("sgx").key, pcs.qe_identity("tdx").key, pcs.pck_crl("platform").key,
        pcs.pck_crl("processor").key, pcs.root_crl().key,
    }  # fmt: skip
    assert len(keys) == 16


def test_roll_back_of_the_evaluation_number(tmp_path, monkeypatch):
    """collateral.evaluation-number"""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    now = datetime.now(UTC)

    def seen(number, fmspc="aa", at=now, root="intel"):
        claims = Claims(tee="tdx", collateral={"evaluation_number": number}, extra={"fmspc": fmspc})
        return [item.outcome for item in Supply().evaluation(claims, root, at=at)]

    assert seen(17) == [] and seen(18) == [] and seen(18) == []
    assert seen(17) == [Outcome.FAILED]
    assert seen(17, "bb") == []
    assert seen(900, root="a test's") == [] and seen(18) == []
    assert seen(16, at=now - timedelta(days=400)) == []  # what is judged at its own time is no roll-back
