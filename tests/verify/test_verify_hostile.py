"""Bad input through the command line: cut anywhere, any byte changed, nonsense; only our own exit codes come out."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import judged
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vectors
from fastness.attestation import answer, question
from fastness.cli.main import main
from fastness.collateral.gather import gather
from fastness.errors import FastnessError, UsageError

pytestmark = vectors.needs_vectors
CASES = ["tdx/v4-uptodate", "sgx/v3-steward-csr-outofdate", "nitro/release-2025", "snp/milan-v2-steward-csr-crl",
         "sev/naples-chain", "cca/veraison-good", "tpm/gce-cos85-nonce", "nvgpu/hopper-sample"]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def code_of(sources, case) -> int:
    """The exit code, as the command computes it; anything but our own errors escapes and fails the test."""
    try:
        results = answer(gather(sources), question(case.at, None, None, None, None, offline=True))
    except FastnessError as error:
        return error.exit_code
    for result in results:
        json.dumps(result.to_json())
        if result.genuine:
            assert result.error is None
    return max(result.exit_code for result in results)


@pytest.mark.parametrize("name", CASES)
def test_every_file_cut_and_changed(name):
    case = vectors.case(name)
    judged.needs(case)
    chance = random.Random(name)
    for role, data in case.files.items():
        rest = [other for key, other in case.files.items() if key != role]
        for _ in range(12):
            where = chance.randrange(len(data))
            cut, changed = data[:where], bytearray(data)
            changed[where] ^= chance.randrange(1, 256)
            for bad in (cut, bytes(changed)):
                assert code_of([*rest, bad], case) in (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("name", "role"),
    [("tdx/v4-uptodate", "quote"), ("nitro/release-2025", "document"), ("snp/milan-v3-vcek-azure", "report")],
)
def test_cut_evidence_is_never_genuine(name, role, tmp_path, capsys):
    case = vectors.case(name)
    judged.needs(case)
    data = case.files[role]
    rest = [other for key, other in case.files.items() if key != role]
    for size in range(1, min(len(data), 1184), 41):
        assert code_of([*rest, data[:size]], case) in (2, 3, 4, 5)
    (tmp_path / "cut").write_bytes(data[:-1] if name.startswith("snp") else data[: len(data) // 2])
    others = [path for path in case.path.iterdir() if path.name != case.document["files"][role]]
    result = judged.run(capsys, "verify", tmp_path, *others, *judged.options(case))
    assert result.code in (3, 4) and result.document["genuine"] is False


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)), max_size=4))
def test_anything_at_all(pieces):
    case = vectors.case("nitro/release-2025")
    assert code_of(pieces, case) in (2, 3, 5)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=80), st.just("application/x")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["quote", "schema", "items", "data", "tcb_info", "certs"]),
                        inner, max_size=4)),
    max_leaves=12))  # fmt: skip
def test_any_json(value):
    assert code_of([json.dumps(value).encode()], vectors.case("nitro/release-2025")) in (2, 3, 5)


def test_wrappings_do_not_nest_for_ever():
    import base64

    data = b"x" * 64
    for _ in range(40):
        data = base64.b64encode(data)
        if len(data) > 1 << 20:
            break
    assert not gather([data]).evidence
    bomb = json.dumps({"schema": "fastness/bundle/v1", "items": [{"data": "QUFB"}] * 1024}).encode()
    with pytest.raises(UsageError, match="pieces"):
        gather([bomb] * 5)


@pytest.mark.parametrize("words", [
    [], ["--at", "yesterday", "x"], ["--nonce", "zz", "x"], ["--report-data", "00" * 1025, "x"],
    ["--at", "bundle", "x"], ["--nonce", "00", "--report-data", "00", "x"], ["--policy", "lenient", "x"],
    ["--anchors", "/none", "--", "x"], ["--unknown", "x"], ["--batch", "x"],
])  # fmt: skip
def test_wrong_use_is_exit_2(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(vectors.case("nitro/release-2025").files["document"])
    assert judged.run(capsys, "verify", *words).code == 2


@pytest.mark.parametrize("words", [
    ["verify", "/none"], ["verify"], ["verify", "--frob", "x"], ["verify", "--at", "never", "x"], ["verfy"],
    ["evidence", "show", "/none"], ["evidence", "collect", "--root", "/none"], ["collateral", "fetch", "empty"],
    ["collateral", "fetch", "--attempts", "0", "empty"], ["collateral", "fetch", "--timeout", "nan", "empty"],
])  # fmt: skip
def test_every_failure_is_a_document_too(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    answer = judged.run(capsys, *words, "--json")
    assert answer.code in (2, 3)
    assert answer.document["schema"] == "fastness/error/v1" and answer.document["exit_code"] == answer.code
    error = answer.document["error"]
    assert error["kind"] in ("usage", "malformed") and error["message"] and error["hint"]
    assert answer.words.startswith("error: ")
    capsys.readouterr()
    assert main([*words]) == answer.code and not capsys.readouterr().out


def test_words_of_the_workload_are_no_options_of_ours(capsys):
    answer = judged.run(capsys, "run", "/none", "--", "--json", "verify")
    assert answer.code == 102 and not answer.document and answer.words.startswith("error: ")


def test_an_error_nobody_meant_is_a_document_and_exit_70(capsys, monkeypatch):
    def boom(_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("fastness.collateral.gather.gather", boom)
    answer = judged.run(capsys, "verify", "x", "--json")
    assert answer.code == answer.document["exit_code"] == 70
    assert answer.document["error"]["kind"] == "bug" and "Traceback" not in answer.words


def test_names_that_no_encoding_has(tmp_path, capsys):
    (tmp_path / "\udcff\x1b[31m").write_bytes(b"prose")
    answer = judged.run(capsys, "verify", tmp_path, "--json", "--offline")
    assert answer.code == 3 and answer.document["ignored"][0]["source"].endswith("\udcff\x1b[31m")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("words", "output", "code"),
    [("verify /none --json", "> /dev/full", 2), ("--version", "> /dev/full", 2), ("--help", "> /dev/full", 2),
     ("verify - --json", "<&- >&-", 3), ("verify /none", "2>&-", 2), ("evidence show quote", "> /dev/full", 2)],
)  # fmt: skip
def test_streams_that_are_full_or_closed(words, output, code, unbuffered, tmp_path):
    (tmp_path / "quote").write_bytes(vectors.case("nitro/release-2025").files["document"])
    line = f"exec {sys.executable} -m fastness {words} {output}"
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert done.returncode == code
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
