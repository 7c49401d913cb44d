"""Forges as a person uses them: a spec in TOML, a folder, and the command that verifies it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from fastness import forge
from fastness.cli.main import main as fastness
from fastness.errors import UsageError
from fastness.forge import files
from fastness.forge.__main__ import main

SPECS = {
    "milan, a report without a processor": 'tee = "snp"\ngeneration = "milan"\nversion = 2',
    "siena": 'tee = "snp"\ngeneration = "bergamo"\nproduct = "Siena-A0"\nkey = "vlek"\ntable = true',
    "turin dense": 'tee = "snp"\ngeneration = "turin"\ncpuid = [0x1A, 0x11, 0]\nversion = 5\nmitigations = [3, 11]',
    "venice": 'tee = "snp"\ngeneration = "venice"\nversion = 5\n[tcb]\nmicrocode = 7\n[policy]\ndebug = true',
    "an identified guest": 'tee = "snp"\n[id_block]\nauthor = true',
    "naples": 'tee = "sev"\nline = "naples"\n[guest]\npolicy = 5',
    "sev milan": 'tee = "sev"\nline = "milan"',
    "sev launch": 'tee = "sev"\n[launch]\ncontents = "firmware"',
    "enclave": 'tee = "nitro"\nnonce = "aabb"\n[pcrs]\n0 = "' + "1f" * 48 + '"\n31 = "' + "2f" * 48 + '"',
    "nitrotpm": 'tee = "nitro"\nkind = "nitrotpm"\ncrls = true',
    "td": 'tee = "tdx"\ntd_report = "1.5-extended"',
    "enclave of intel": 'tee = "sgx"\nstatus = "OutOfDate"',
    "realm": 'tee = "cca"\nprofile = "2.0"',
    "tpm": 'tee = "tpm"\ntrust = "certificate"',
    "gpu": 'tee = "nvgpu"',
}
REFUSED = {
    "a revoked ASK": ('tee = "snp"\ncrl = "revoked"', "snp.revocation"),
    "another chip": ('tee = "snp"\ngeneration = "turin"\nlie = "chip-id"', "snp.chip-id"),
    "another PEK": ('tee = "sev"\nlie = "pek"', "sev.pek"),
    "another module": ('tee = "nitro"\nlie = "module-id"', "nitro.module-id"),
}


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def verified(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    """Exit code and result of the command that the forge prints."""
    spec = folder / "spec.toml"
    spec.write_text(text)
    assert main([str(spec), str(folder / "made")]) == 0
    name, *words = shlex.split(capsys.readouterr().out)
    assert name == "fastness"
    code = fastness([*words, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", SPECS)
def test_what_is_forged_is_genuine_under_its_own_roots(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = verified(SPECS[name], tmp_path, capsys)
    assert (code, result["genuine"], result["error"]) == (0, True, None)


@pytest.mark.parametrize("name", REFUSED)
def test_a_lie_is_refused_by_its_check(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, check = REFUSED[name]
    code, result = verified(text, tmp_path, capsys)
    error = result["error"]
    assert isinstance(error, dict)
    assert (code, result["genuine"], error["check"]) == (4, False, check)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tee = ", "not TOML"), ('tee = "nil"', "no forge of 'nil'"),
        ('tee = "snp"\ngeneraton = "milan"', "'generaton'"),
        ('tee = "snp"\ngeneration = "rome"', "'rome'"), ('tee = "sev"\nline = "venice"', "'venice'"),
        ('tee = "snp"\nmeasurement = "xyz"', "cannot be used"), ('tee = "snp"\nlie = "none"', "no lie"),
        ('tee = "nitro"\nkind = "nitrotpm"\nlie = "registers"', "no register that must be there"),
    ],
)  # fmt: skip
def test_a_spec_with_a_mistake_makes_nothing(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        files.read(text)


@pytest.mark.parametrize("tee", files.TEES)
def test_the_words_of_a_forge_list_every_key(tee: str) -> None:
    """They are what a person reads, and what a key is checked against."""
    parts = [tee, *([files._SHARED[tee]] if tee in files._SHARED else [])]
    source = "".join((Path(forge.__path__[0]) / f"{part}.py").read_text() for part in parts)
    asked = set(re.findall(r'spec(?:\.get\(|\[)"([a-z_]+)"', source))
    assert asked
    assert asked <= set(re.findall(r"``([a-z_]+)``", files.words(tee)))


def test_help_and_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "SPEC.toml FOLDER" in capsys.readouterr().out
    assert main(["--help", "snp"]) == 0
    assert "``generation``" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["--help", "x86"]) == 2
    for number, text in enumerate(("x = " + "9" * 5000, "x = " + "[" * 5000)):
        (tmp_path / f"{number}.toml").write_text(text)
        assert main([str(tmp_path / f"{number}.toml"), str(tmp_path)]) == 2
    assert main([str(tmp_path / "absent"), str(tmp_path)]) == 2
    assert "error: the spec cannot be read" in capsys.readouterr().err
