"""Defects of caches and fetching, by number: roll-back, stale fall-back, third parties, tampered stores."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from service import Reply, Service, serving

from fastness import attestation
from fastness import verify as ask
from fastness.collateral import fetch, pcs, wanted
from fastness.collateral.http import Client
from fastness.collateral.store import Entry, Store, folder
from fastness.errors import MissingCollateral, RemoteError
from fastness.forge import dcap_vendor, tdx
from fastness.forge.model import Forged
from fastness.result import Result
from fastness.wire import pem

QUOTE = tdx.make({})
AT = dcap_vendor.AT


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        monkeypatch.setenv("FASTNESS_PCS_URL", running.url)
        yield running


def serve(service: Service, forged: Forged) -> None:
    """Intel's service, or a PCCS, as it speaks of the forged platform."""
    import urllib.parse

    given = forged.collateral
    chain = urllib.parse.quote(pem.armour("CERTIFICATE", [item.raw for item in given.certificates]).decode())
    for row in fetch.plan("tdx", None, given_with_leaf(forged)):
        path = row.url.removeprefix(service.url)
        kind = row.kinds[0]
        if kind == "crl":
            at_root = path.endswith("rootcacrl")
            body = next(item.raw for item in given.crls if ("Root" in item.issuer_cn) == at_root)
        else:
            body = given.of(kind)[0].data
        service.say(path, Reply(body, headers=dict.fromkeys(row.headers[:1], chain)))


def given_with_leaf(forged: Forged) -> Any:
    from fastness import tee as tees

    module = tees.load("tdx")
    return forged.collateral + module.enclosed(module.parse(forged.evidence))


def question(forged: Forged, *, at: datetime = AT, offline: bool = False) -> Result:
    return ask(forged.evidence, at=at, anchors=forged.anchors, offline=offline)


def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers any more."""
    monkeypatch.setenv("FASTNESS_PCS_URL", "http://127.0.0.1:9")


def test_b30_with_the_network_gone_the_cache_serves_to_the_end_of_its_validity_and_not_beyond(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert question(QUOTE, offline=True).genuine is None
    serve(service, QUOTE)
    assert question(QUOTE).genuine is True
    monkeypatch.setattr(fetch, "client", lambda **_: Client(attempts=1, timeout=0.3))
    dead(monkeypatch)
    assert question(QUOTE).genuine is True
    late = AT + timedelta(days=26)  # the forged collateral was issued five days before AT, for thirty days
    for offline in (False, True):
        result = question(QUOTE, at=late, offline=offline)
        assert result.genuine is None
        assert "missing" in str(result.error)


def test_b30_an_expired_answer_from_the_network_is_no_answer_either(service: Service) -> None:
    serve(service, QUOTE)
    assert question(QUOTE, at=AT + timedelta(days=26)).genuine is None


def test_b14_what_was_seen_before_is_remembered(tmp_path: Path) -> None:
    """A host offers collateral that is signed and within its validity, but older than what this machine has seen."""
    store = Store(tmp_path)
    now = datetime.now(UTC)
    assert store.evaluation("tdx/aa", 18, now) is None
    assert store.evaluation("tdx/aa", 17, now) == 18
    assert store.evaluation("tdx/bb", 17, now) is None
    assert store.evaluation("tdx/aa", 19, now) is None
    assert store.evaluation("tdx/aa", 18, now) == 19


@pytest.mark.parametrize("change", ["claims", "signature", "other platform"])
def test_b41_a_mirror_that_alters_what_intel_signed_is_not_believed(service: Service, change: str) -> None:
    forged = QUOTE
    tcb_info = forged.collateral.of("tcb-info")[0]
    lie = {
        "claims": tcb_info.data.replace(b"UpToDate", b"OutOfDat"),
        "signature": tcb_info.data[:-10] + b"00000000" + tcb_info.data[-2:],
        "other platform": tdx.make({"lie": "other-fmspc"}).collateral.of("tcb-info")[0].data,
    }[change]
    documents = tuple(item._replace(data=lie) if item is tcb_info else item for item in forged.collateral.documents)
    serve(service, replace(forged, collateral=forged.collateral._replace(documents=documents)))
    assert question(forged).genuine is not True


def test_b41_without_a_mirror_configured_nobody_but_the_vendors_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in wanted.DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    urls = [
        row.url
        for row in (pcs.tcb_info("tdx", "00" * 6), pcs.qe_identity("tdx"), pcs.pck_crl("platform"), pcs.root_crl())
    ]
    assert all(url.split("/")[2].endswith("trustedservices.intel.com") for url in urls)
    assert all(url.startswith("https://") for url in urls)


@pytest.mark.parametrize("damage", ["content", "key", "date", "cut"])
def test_b42_a_cache_that_somebody_altered_is_no_more_trusted_than_the_network(service: Service, damage: str) -> None:
    serve(service, QUOTE)
    assert question(QUOTE).genuine is True
    for path in folder().glob("*.entry"):
        body = json.loads(path.read_text())
        if damage == "content":
            told = base64.b64decode(body["pieces"][0]).replace(b"UpToDate", b"OutOfDat")
            body["pieces"][0] = base64.b64encode(told).decode()
        elif damage == "key":
            body["key"] += "x"
        else:
            body["valid_until"] = "9999-12-31T23:59:59Z"
        text = json.dumps(body)
        path.write_text(text[: len(text) // 2] if damage == "cut" else text)
    if damage == "date":  # even an entry that claims to hold for ever is judged by what Intel signed
        assert question(QUOTE, offline=True).genuine is True
        assert question(QUOTE, offline=True, at=AT + timedelta(days=26)).genuine is None
    else:
        assert question(QUOTE, offline=True).genuine is not True


def test_b42_two_levels_of_firmware_are_two_entries(tmp_path: Path) -> None:
    store, now = Store(tmp_path), datetime(2026, 1, 1, tzinfo=UTC)
    for key in ("kds/vcek/v1/Turin/00?fmcSPL=01", "kds/vcek/v1/Turin/00?fmcSPL=02"):
        store.put(Entry(key, "url", "then", "2027-01-01T00:00:00Z", (key.encode(),)))
    assert store.get("kds/vcek/v1/Turin/00?fmcSPL=01", now) != store.get("kds/vcek/v1/Turin/00?fmcSPL=02", now)
    assert store.get("kds/vcek/v1/Turin/00?fmcSPL=03", now) is None


def test_b30_an_unreachable_service_is_said_and_nothing_is_invented(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dead(monkeypatch)
    with pytest.raises(RemoteError, match="cannot be reached"):
        fetch.obtain(pcs.qe_identity("tdx"), Store(folder()), Client(attempts=1, timeout=0.3), at=AT)
    assert not list(Store(folder()).entries())


MIRROR = "https://pccs.example:8081"


@pytest.mark.parametrize(
    ("named", "place"),
    [(f"{MIRROR}/", MIRROR), ("", wanted.DEFAULTS[wanted.PCS])],
)
def test_what_is_missing_is_said_to_be_at_the_mirror_that_was_named(
    named: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine behind a PCCS does not reach Intel."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(wanted.PCS, named)
    bare = ask(QUOTE.evidence, at=AT, anchors=QUOTE.anchors)
    assert bare.error and bare.error.hint.startswith(f"fetch it from {place}/")
    without = QUOTE.collateral._replace(crls=())
    documents = [item.data for item in without.documents] + [item.raw for item in without.certificates]
    found = ask(QUOTE.evidence, *documents, at=AT, anchors=QUOTE.anchors)
    hints = [item.hint for item in found.findings if item.check == "tdx.revocation"]
    assert len(hints) == 1 and hints[0].startswith(f"{place}/sgx/certification/v4/pckcrl?ca=")
    with pytest.raises(MissingCollateral, match="is missing") as error:
        attestation.examine(
            [QUOTE.evidence], "tdx", attestation.question(AT, None, None, None, QUOTE.anchors, offline=True)
        )
    assert error.value.hint == bare.error.hint
    monkeypatch.setenv(wanted.PCS, "no address")
    hint = f"fetch it from {wanted.DEFAULTS[wanted.PCS]}/x"
    assert wanted.addressed(hint) == hint
