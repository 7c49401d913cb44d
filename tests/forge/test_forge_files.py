"""Forges as a person uses them: a spec in TOML, a folder, and the command that verifies it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
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
        ('tee = "snp"\nvmpl = -1', "cannot be used"), ('tee = "sgx"\ncomponents = []', "cannot be used"),
        ('tee = "snp"\n[tcb]\nmicrocod = 7', "'microcod'"), ('tee = "snp"\n[policy]\ndebugging = true', "'debugging'"),
        ('tee = "nitro"\nkind = "nitrotpm"\nlie = "registers"', "no register that must be there"),
    ],
)  # fmt: skip
def test_a_spec_with_a_mistake_makes_nothing(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        files.read(text)
    assert caught.value.hint


def test_a_value_that_cannot_be_used_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.toml"
    for text, where in (
        ('tee = "snp"\nversion = 5\nguest_svn = "x"', "guest_svn"),
        ('tee = "snp"\n[tcb]\nmicrocod = 7', "tcb.microcod"),
        ('tee = "sev"\nline = "venice"', str(spec)),
    ):
        spec.write_text(text)
        assert main([str(spec), str(tmp_path / "made")]) == 2
        assert f"\n  where {where}\n  hint " in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


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


def test_a_spec_is_read_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stands behind the bound was left out without a word, and a device without end filled the memory."""
    spec = tmp_path / "spec.toml"
    monkeypatch.setattr(files, "MAX_SPEC", 32)
    spec.write_text('tee = "snp"' + "\n" * 30 + "version = 2")
    for path in (spec, Path("/dev/zero")):
        assert main([str(path), str(tmp_path / "made")]) == 2
        assert "a spec has at most 32 bytes" in capsys.readouterr().err
    spec.write_bytes(b'tee = "\xff"')
    assert main([str(spec), str(tmp_path / "made")]) == 2
    assert f"{spec}, byte 7" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, made = tmp_path / "spec.toml", tmp_path / "made"
    spec.write_text('tee = "sgx"')
    assert main([str(spec), str(spec)]) == 2
    assert "cannot be written: not a directory" in capsys.readouterr().err
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".tcb-info":
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main([str(spec), str(made)]) == 2
    assert "no space left on device" in capsys.readouterr().err
    assert not [path for path in made.rglob("*") if path.is_file()]


def test_nothing_is_forged_beside_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that lies in a folder is judged together: a list of another fake vendor would revoke, or lack."""
    spec, made = tmp_path / "spec.toml", tmp_path / "made"
    spec.write_text('tee = "snp"')
    assert main([str(spec), str(made)]) == 0
    assert main([str(spec), str(made)]) == 0
    spec.write_text('tee = "nitro"')
    assert main([str(spec), str(made)]) == 2
    assert "a file of something else is there already" in capsys.readouterr().err
    assert not (made / "evidence" / "nitro.bin").exists()


def test_a_command_that_nobody_hears_is_an_error(tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text('tee = "snp"')
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "fastness.forge", str(spec), str(tmp_path / "made")]
        told = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert told.returncode == 2
    assert "error: the output cannot be written: no space left on device" in told.stderr
    assert "Traceback" not in told.stderr
