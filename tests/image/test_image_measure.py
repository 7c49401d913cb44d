"""``fastness image measure`` as people call it: a folder in, TOML or JSON out, reasons for what is not told."""

from __future__ import annotations

import hashlib
import json
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from measured import CMDLINE, INITRD, kernel, sgxs, uki
from measured import firmware as tdvf

import firmware
from fastness.appraise import reference, statements
from fastness.cli.main import main
from fastness.errors import UsageError
from fastness.image import eif, store
from fastness.image.measure import Row, statement
from fastness.pki import dsse, keys, signer
from fastness.wire import x509

TDVF = tdvf([(0, 0x2000, 0xFFFF8000, 0x2000, 1)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small image, complete but for being able to boot."""
    place = tmp_path / "image"
    place.mkdir()
    linux = kernel()
    parts = {"vmlinuz": linux, "keep.cpio.zst": INITRD, "cmdline": CMDLINE.encode(), "keep.efi": uki(linux)}
    parts["keep.eif"] = eif.unparse(eif.Eif(linux, CMDLINE.encode(), (INITRD,), b"{}"))
    rows = [{"name": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in parts.items()]
    root = [{"path": "init", "mode": "100555", "origin": "image", "sha256": "aa" * 32, "size": 1}]
    manifest = {"schema": store.SCHEMA, "debug": False, "kernel": "6.12", "cmdline": CMDLINE, "epoch": 0, "inputs": []}
    manifest |= {"artefacts": rows, "root": root}
    for name, data in (parts | {"manifest.json": store.encoded(manifest)}).items():
        (place / name).write_bytes(data)
    return place


@pytest.fixture(autouse=True)
def no_gramine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.parametrize("words", [(), ("--platform", "all")])
def test_all_that_can_be_told(folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert main(["image", "measure", str(folder), *words]) == 0
    out, err = capsys.readouterr()
    found = tomllib.loads(out)
    assert found["schema"] == "fastness/reference-values/v1"
    assert found["image"] == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert [item["tee"] for item in found["value"]] == ["tpm"] * 4 + ["nitro"]
    assert abs(found["issued"] - datetime.now(UTC)) < timedelta(minutes=5)
    assert "expires" not in found
    for words in ("snp: not told", "sev: not told", "tdx: not told", "sgx: not told: MRENCLAVE needs gramine-sgx-sign"):
        assert words in err
    for row in found["value"]:
        for values in row["measurements"].values():
            assert values
            assert all(bytes.fromhex(value) is not None for value in values)


def test_json_says_the_same(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "OVMF.fd").write_bytes(TDVF)
    output = tmp_path / "values.toml"
    command = ["image", "measure", str(folder), "--platform", "tdx", "--platform", "vm", "--json", "-o", str(output)]
    command += ["--firmware", str(tmp_path / "OVMF.fd"), "--name", "mine", "--expires", "2027-11-23T12:00:00Z"]
    assert main(command) == 0
    document, text = json.loads(capsys.readouterr().out), tomllib.loads(output.read_text())
    assert document["untold"] == []
    assert document["value"] == text["value"]
    assert [item["tee"] for item in text["value"]] == ["tdx"] * 4 + ["tpm"] * 4
    assert (text["name"], document["name"], document["expires"]) == ("mine", "mine", "2027-11-23T12:00:00Z")
    assert text["expires"] == datetime(2027, 11, 23, 12, tzinfo=UTC)


def test_untold_in_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "measure", str(folder), "--json"]) == 0
    untold = {item["platform"]: item for item in json.loads(capsys.readouterr().out)["untold"]}
    assert untold.keys() == {"snp", "sev", "tdx", "sgx"}
    assert all(item["reason"] and item["hint"] for item in untold.values())


@pytest.mark.parametrize("platform", ["snp", "sev", "tdx", "sgx"])
def test_what_was_asked_for_is_told_or_refused(folder: Path, capsys: pytest.CaptureFixture[str], platform: str) -> None:
    assert main(["image", "measure", str(folder), "--platform", platform]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "hint" in err


def test_signed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = signer.generate("ed25519")
    (tmp_path / "key.pem").write_bytes(key.armoured())
    command = ["image", "measure", str(folder), "--platform", "vm", "--sign", str(tmp_path / "key.pem")]
    assert main(command) == 0
    data = capsys.readouterr().out.encode()
    envelope, source = dsse.parse(data, "x"), statements.read(data, "x")
    (signature,) = envelope.signatures
    public = keys.load(x509.parse_public_key(key.public))
    assert (signature.keyid, source.form) == (key.keyid, "dsse")
    assert signer.verifies(public, signature.value, envelope.signed())
    assert [row.tee for row in source.statement.rows] == ["tpm"] * 4
    assert main([*command, "--json"]) == 2
    assert "-o FILE" in capsys.readouterr().err
    assert main([*command, "--json", "-o", str(tmp_path / "signed")]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == statement.document(source.statement)["value"]
    assert statements.read((tmp_path / "signed").read_bytes(), "x").statement.rows == source.statement.rows


def test_a_key_that_is_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key.pem").write_bytes(b"no key")
    assert main(["image", "measure", str(folder), "--sign", str(tmp_path / "key.pem")]) == 2
    assert capsys.readouterr().out == ""


def test_an_enclave_made_elsewhere(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keep.sgxs").write_bytes(sgxs())
    command = ["image", "measure", str(folder), "--platform", "sgx", "--enclave", str(tmp_path / "keep.sgxs")]
    assert main(command) == 0
    (row,) = tomllib.loads(capsys.readouterr().out)["value"]
    assert row["measurements"] == {"mrenclave": ["4c3d038b576aeab33a9d94eeeca3e75c2af21dd71690e332588933b694671757"]}


def test_an_altered_image_is_not_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "keep.cpio.zst").write_bytes(INITRD + b"x")
    assert main(["image", "measure", str(folder)]) == 2
    assert "keep.cpio.zst" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--qemu", "new"], "--qemu"),
        (["--qemu", "9"], "--qemu"),
        (["--firmware", "/none"], "/none"),
        (["--expires", "soon"], "--expires"),
        (["--platform", "cca"], "--platform"),
        (["--memory", "1", "--platform", "vm"], "--memory"),
        (["-o", "/none/file"], "/none/file"),
    ],
)
def test_usage(folder: Path, capsys: pytest.CaptureFixture[str], option: list[str], words: str) -> None:
    assert main(["image", "measure", str(folder), *option]) == 2
    assert words in capsys.readouterr().err


def test_a_firmware_of_any_size_is_not_read(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert main(["image", "measure", str(folder), "--firmware", str(tmp_path / "huge")]) == 2
    assert "more than" in capsys.readouterr().err


def test_old_qemu(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "measure", str(folder), "--platform", "vm", "--qemu", "7.2.22", "--memory", "300"]) == 0
    notes = [row["note"] for row in tomllib.loads(capsys.readouterr().out)["value"]]
    assert sum("filled in by QEMU, q35, 300 MiB" in note for note in notes) == 1
    assert not any("as it is" in note for note in notes)


def test_more_processors_are_more_rows_where_they_count(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "measure", str(folder), "--platform", "nitro", "--vcpus", "1", "--vcpus", "2"]) == 0
    assert len(tomllib.loads(capsys.readouterr().out)["value"]) == 1


def test_processors_of_amd(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "OVMF.amdsev.fd").write_bytes(firmware.make())
    command = ["image", "measure", str(folder), "--platform", "snp", "--platform", "sev", "--cpu", "EPYC-v4"]
    command += ["--firmware", str(tmp_path / "OVMF.amdsev.fd"), "--vcpus", "1", "--vcpus", "2"]
    assert main(command) == 0
    rows = tomllib.loads(capsys.readouterr().out)["value"]
    # plain SEV measures no processor: its two rows are one
    assert [row["tee"] for row in rows] == ["snp", "snp", "sev", "sev", "sev"]
    assert len({row["measurements"]["launch"][0] for row in rows}) == 5


def stated(*rows: Row, name: str = "n") -> reference.Statement:
    return statement.make(rows, name=name, image="d", issued=datetime(2026, 11, 23, 12, tzinfo=UTC))


def test_rows_that_say_the_same() -> None:
    one, other = ("00" * 32,), ("01" * 32,)
    rows = [Row("tpm", "a", {"pcr4": one}), Row("tpm", "b", {"pcr4": one}), Row("tdx", "a", {"pcr4": one})]
    found = stated(*rows, Row("tpm", "a", {"pcr4": other})).rows
    assert [(row.tee, row.note, row.measurements["pcr4"]) for row in found] == [
        ("tpm", "a", one), ("tdx", "a", one), ("tpm", "a", other),
    ]  # fmt: skip


def test_words_cannot_leave_their_string() -> None:
    digests = [f"{number:02x}" * 32 for number in range(3)]
    row = Row("tpm", 'a "note"\n[[value]]\\', {"pcr11": (digests[0],), "pcr9": (digests[1], digests[2])})
    found = stated(row)
    assert tomllib.loads(reference.dump_toml(found))["value"] == statement.document(found)["value"]
    assert found.rows[0].note == row.note
    assert list(found.rows[0].measurements) == ["pcr9", "pcr11"]
    assert statement.document(found)["issued"] == "2026-11-23T12:00:00Z"


def test_what_policies_would_not_read_is_not_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "measure", str(folder), "--name", "keep images"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "name" in err
    with pytest.raises(UsageError, match="values"):
        stated()
