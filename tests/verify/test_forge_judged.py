"""``python -m fastness.forge``: forged evidence from TOML, judged by ``fastness verify`` as it says itself."""

from __future__ import annotations

import shlex

import judged
import pytest

from fastness import verify
from fastness.claims.finding import table
from fastness.forge import __main__ as forge
from fastness.forge import files, snp
from fastness.forge.dcap import RELAUNCH
from fastness.tee.dcap.documents import PLATFORM_STATUSES


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def forged(tmp_path, capsys, text):
    """What ``fastness verify`` says of what ``text`` forges."""
    (tmp_path / "spec.toml").write_text(text)
    assert forge.main([str(tmp_path / "spec.toml"), str(tmp_path / "out")]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:2] == ["fastness", "verify"]
    return judged.run(capsys, *words[1:], "--json")


@pytest.mark.parametrize("tee", files.TEES)
def test_every_forge_from_toml(tee, tmp_path, capsys):
    answer = forged(tmp_path, capsys, f'tee = "{tee}"\n')
    assert (answer.code, answer.document["tee"], answer.document["genuine"]) == (0, tee, True)


@pytest.mark.parametrize("status", sorted(PLATFORM_STATUSES | set(RELAUNCH)))
def test_every_status_of_intel(status, tmp_path, capsys):
    text = f'tee = "tdx"\nstatus = "{status}"\ntd_report = "1.5-extended"\n[fields]\nmrtd = "{"ab" * 48}"\n'
    claims = forged(tmp_path, capsys, text).document["claims"]
    assert (claims["tcb_status"], claims["tdx"]["td_report"]) == (status, "1.5-extended")
    assert claims["measurements"]["mrtd"] == "ab" * 48


@pytest.mark.parametrize(
    "text",
    ['tee = "tdx"\nstatsu = "Revoked"', 'tee = "tdx"\nlie = "chains"', 'tee = "sgx"\nstatus = "Fine"', 'tee = "sgy"',
     'tee = "sgx"\nqe_status = "SWHardeningNeeded"', "tee =", 'tee = "sgx"\ngeneration = "pentium"',
     'tee = "tdx"\ntd_report = "1.0"\nstatus = "TDRelaunchAdvised"', 'tee = "tdx"\ntd_report = "2.0"'],
)  # fmt: skip
def test_what_it_does_not_know_is_refused(text, tmp_path, capsys):
    (tmp_path / "spec.toml").write_text(text)
    assert forge.main([str(tmp_path / "spec.toml"), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_refusal_that_knows_no_better_has_the_hint_of_its_check():
    told = snp.make({"lie": "mask"})
    pieces = (told.evidence, *(item.raw for item in told.collateral.certificates))
    error = verify(*pieces, at=told.at, anchors=told.anchors).error
    assert (error.check, error.hint) == ("snp.chip-id", table()["snp.chip-id"].hint)


def test_a_lie_says_where(tmp_path, capsys):
    answer = forged(tmp_path, capsys, 'tee = "tdx"\nlie = "tcb-signature"\n')
    assert (answer.code, answer.document["error"]["check"]) == (4, "tdx.tcb-signature")
    assert answer.document["error"]["where"].endswith("0.tcb-info")
    answer = forged(tmp_path, capsys, 'tee = "tdx"\nlie = "other-fmspc"\n')
    assert (answer.code, answer.document["error"]["where"]) == (5, "supplied: TDX FFEEDDCCBBAA 0000")
