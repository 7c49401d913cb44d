"""Every piece of real evidence through the command line; what must come out is derived from its case.json."""

from __future__ import annotations

import os
import subprocess
import sys

import judged
import pytest

import vectors

pytestmark = vectors.needs_vectors


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def wanted_codes(case: vectors.Case) -> set[int]:
    expected = case.expected
    if case.name in judged.LACKING:
        return {5}
    if case.name == "tdx/v4-uptodate--crl-missing":
        return {0}  # genuine; the list that was not checked is a finding, and every policy refuses it
    if expected.get("accept") is False:
        codes = set(judged.STAGES[expected["stage"]])
        return codes | {4} if "signature stage is as good" in expected.get("note", "") else codes
    return {4} if expected.get("signature_valid") is False else {0}


@pytest.mark.parametrize("name", judged.every())
def test_real_evidence(name, capsys):
    case = vectors.case(name)
    judged.needs(case)
    answer = judged.run(capsys, "verify", case.path, *judged.options(case))
    assert answer.code in wanted_codes(case), answer.document.get("error")
    document = answer.document
    assert document["schema"] == "fastness/verdict/v1"
    assert document["genuine"] is {0: True, 3: False, 4: False, 5: None}[answer.code]
    assert (document["error"] is None) == (answer.code == 0)
    assert document["verdict"] is None and document["decided_by"] is None
    if answer.code != 0:
        assert document["claims"] is None and document["error"]["message"] and document["error"]["hint"]
        return
    assert document["tee"] == name.split("/")[0]
    claims = document["claims"]
    for key in ("tcb_status", "advisory_ids"):
        if case.expected.get(key) is not None:
            assert claims[key] == case.expected[key]
    if case.expected.get("debug") is not None:
        assert claims["debug"] is case.expected["debug"]
    facts = case.facts
    if "measurement" in facts:
        assert claims["measurements"]["launch"] == facts["measurement"]
    if "report_data" in facts:
        assert claims["report_data"] == facts["report_data"]


@pytest.mark.parametrize("name", ["tdx/v4-uptodate--crl-missing", "tdx/v4-debug", "tdx/v4-outofdate-gnr",
                                  "tdx/v4-spr-e4-notcb", "sgx/v3-debug", "nitro/debug-2021"])  # fmt: skip
def test_a_policy_refuses_what_is_genuine_but_bad(name, capsys):
    case = vectors.case(name)
    judged.needs(case)
    answer = judged.run(capsys, "verify", case.path, *judged.options(case), "--policy", "default")
    assert answer.code == 1 and answer.document["genuine"] is True
    assert answer.document["verdict"] == "refuse" and answer.document["decided_by"]
    against = [item for item in answer.document["findings"] if item["outcome"] in ("failed", "not-checked")]
    assert against and all(item["hint"] for item in against)


def test_a_policy_accepts_what_is_up_to_date(capsys):
    case = vectors.case("tdx/v4-uptodate")
    answer = judged.run(capsys, "verify", case.path, *judged.options(case), "--policy", "default")
    assert answer.code == 0 and answer.document["verdict"] == "accept"
    assert answer.document["policy"]["name"] == "default"


def test_without_the_owners_anchor_cca_is_not_genuine(capsys):
    case = vectors.case("cca/veraison-good")
    judged.needs(case)
    assert judged.run(capsys, "verify", case.path, "--json", "--offline").code == 4
    # in the usage `--anchors FILE PATH` only the first word is an anchor
    answer = judged.run(capsys, "verify", "--json", "--offline", "--anchors", case.path / "cpak_pub.pem", case.path)
    assert answer.code == 0 and answer.document["anchors"][0]["tee"] == "*"


def test_as_a_process(tmp_path):
    case = vectors.case("nitro/release-2025")
    judged.needs(case)
    command = [sys.executable, "-m", "fastness", "verify", "-", "--at", case.at.isoformat(), "--offline"]
    environment = os.environ | {"PYTHONPATH": "src", "NO_COLOR": "1", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        command, input=case.files["document"], capture_output=True, env=environment, check=False, timeout=60
    )
    assert done.returncode == 0 and b"genuine    yes" in done.stdout and b"not checked" in done.stdout
    assert b"error" not in done.stderr


def test_the_python_interface():
    from fastness import Result, verify
    from fastness.errors import UsageError

    case = vectors.case("tdx/v4-uptodate")
    result = verify(case.path, at=case.at)
    assert isinstance(result, Result) and result.genuine and result.exit_code == 0
    assert result.claims["tcb_status"] == "UpToDate" and result.to_json()["tee"] == "tdx"
    late = verify(*case.files.values(), at=case.at.replace(year=2030))
    assert late.genuine is None and late.exit_code == 5 and late.error.check
    with pytest.raises(UsageError, match="2 pieces of evidence"):
        verify(case.path, vectors.case("tdx/v4-debug").path, at=case.at)
    with pytest.raises(UsageError, match="without a zone"):
        verify(case.path, at=case.at.replace(tzinfo=None))


def test_a_quote_without_a_log_says_so(capsys):
    case = vectors.case("tpm/keylime-swtpm")
    judged.needs(case)
    findings = judged.run(capsys, "verify", case.path, *judged.options(case)).document["findings"]
    assert [row["outcome"] for row in findings if row["check"] == "tpm.event-log"] == ["note"]
