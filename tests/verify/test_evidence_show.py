"""``fastness evidence show``, and how results merge and read."""

from __future__ import annotations

from datetime import UTC, datetime

import judged
import pytest

import vectors
from fastness.claims.model import Claims, Cpu
from fastness.cli.evidence import HEADING
from fastness.cli.main import main
from fastness.cli.verify import lines
from fastness.errors import MissingCollateral
from fastness.result import Result, document, exit_code, merged

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@vectors.needs_vectors
@pytest.mark.parametrize("name", ["tdx/v5-td15-uptodate", "sgx/v3-debug", "nitro/release-2025", "cca/veraison-good",
                                  "tpm/gce-cos85-nonce", "snp/turin-v5-vcek-azure", "nvgpu/blackwell",
                                  "sev/naples-chain"])  # fmt: skip
def test_every_field_with_its_bytes(name, capsys):
    case = vectors.case(name)
    judged.needs(case)
    answer = judged.run(capsys, "evidence", "show", case.path, "--json")
    assert answer.code == 0 and answer.document["verified"] is False
    item = answer.document["evidence"][0]
    assert item["tee"] == name.split("/")[0] and item["error"] is None and len(item["fields"]) > 3
    for row in item["fields"]:
        assert row["name"] and len(row["hex"]) == 2 * row["size"] and 0 <= row["offset"] <= item["size"]
    assert main(["evidence", "show", str(case.path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(HEADING) and "  at 0x" in shown


@vectors.needs_vectors
def test_damaged_evidence_is_shown_as_far_as_it_goes(tmp_path, capsys):
    data = vectors.case("tdx/v4-uptodate").files["quote"]
    (tmp_path / "x").write_bytes(data[:700])
    answer = judged.run(capsys, "evidence", "show", tmp_path, "--json")
    assert answer.code == 3 and answer.document["evidence"][0]["error"]["kind"] == "malformed"
    (tmp_path / "x").write_bytes(b"nothing of the kind")
    assert judged.run(capsys, "evidence", "show", tmp_path, "--json").code == 3


def test_claims_of_what_rests_on_something():
    outer = Claims(tee="tpm", measurements={"pcr4": "aa"}, report_data="01", extra={"clock": 1})
    inner = Claims(
        tee="snp", cpu=Cpu(vendor="amd", generation="milan"), debug=True, measurements={"launch": "bb", "pcr4": "cc"},
        report_data="02", hardware_id="03", extra={"vmpl": 0},
    )  # fmt: skip
    tree = merged((outer, inner))
    assert tree["tee"] == "tpm" and tree["report_data"] == "01" and tree["debug"] is True
    assert tree["cpu"]["generation"] == "milan" and tree["hardware_id"] == "03"
    assert tree["measurements"] == {"pcr4": "aa", "launch": "bb"}
    assert tree["tpm"] == {"clock": 1} and tree["snp"] == {"vmpl": 0}


def test_several_results_and_the_worst_of_them():
    good = Result("tdx", True, NOW, claims={"tee": "tdx"})
    refused = Result("tdx", True, NOW, claims={}, verdict="refuse", decided_by="rule 'x'")
    lacking = Result("snp", None, NOW, error=MissingCollateral("VCEK", "AMD", check="snp.vcek"))
    assert exit_code((good,)) == 0 and exit_code((good, refused)) == 1 and exit_code((refused, lacking)) == 5
    whole = document((good, lacking))
    assert whole["schema"] == "fastness/verdicts/v1" and whole["results"][1]["error"]["check"] == "snp.vcek"
    text = "\n".join(lines(lacking))
    assert "cannot be told" in text and "VCEK" not in text  # the error is said on stderr
    assert "refuse, decided by rule 'x'" in "\n".join(lines(refused))
