"""``fastness tcb``: components with and without an image, their sums, and the CycloneDX form."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import synthetic
from fastness.cli.main import main
from fastness.errors import Malformed
from fastness.image import bom, build, cpio, cyclonedx, store
from fastness.image.store import Image

TYPES = {
    "application", "framework", "library", "container", "platform", "operating-system", "device", "device-driver",
    "firmware", "file", "machine-learning-model", "data", "cryptographic-asset",
}  # fmt: skip
DOCUMENT = {"$schema", "bomFormat", "specVersion", "serialNumber", "version", "metadata", "components", "dependencies"}
COMPONENT = {
    "type", "bom-ref", "name", "version", "hashes", "licenses", "purl", "properties", "components",
    "externalReferences",
}  # fmt: skip


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    contents = synthetic.contents()
    root = (
        *contents.root,
        cpio.file("usr/lib/fastness/__pycache__/a.pyc", b"code", "fastness"),
        cpio.file("p.pyc", b"12", "pure"),
    )
    contents = type(contents)(
        contents.release, contents.vmlinuz, contents.stub, root, {**contents.lines, "p.pyc": 9}, contents.parts
    )
    names = (
        ("deb", "libx"),
        ("deb", "linux-image-6"),
        ("deb", "systemd-boot-efi"),
        ("wheel", "pure"),
        ("deb", "unused"),
    )
    pins = [synthetic.item(kind, name, name.encode(), "1:2+3~4") for kind, name in names]
    image = store.place(*build.assemble(synthetic.lock(*pins), contents, debug=False))
    store.remember(image, "k")
    return image


def test_components_of_an_image(image: Image) -> None:
    found = {item.name: item for item in bom.of_image(image)}
    assert list(found) == [
        "linux-image-6",
        "systemd-boot-efi",
        "libx",
        "fastness",
        "pure",
    ]  # by size; unused is not in it
    assert found["linux-image-6"].size == 6000
    assert (found["libx"].size, found["libx"].reproducible, found["libx"].shipped) == (400, False, 400)
    assert found["libx"].parts[0].name == "inner"
    assert (found["pure"].size, found["pure"].lines, found["pure"].reproducible) == (2, 9, True)
    own = found["fastness"]
    assert {file.path for file in own.files} == {
        "/init",
        "/usr/lib/fastness/a.py",
        "/usr/lib/fastness/__pycache__/a.pyc",
    }
    assert (own.kind, own.licence, own.lines, own.shipped) == ("own", "Apache-2.0", 1, 0)
    sums = bom.totals(found.values())
    assert (
        sums["bytes"] == sum(item.size for item in found.values()) == 6000 + len(synthetic.stub()) + 400 + own.size + 2
    )
    assert sums["bytes_as_shipped"] == 6400 + len(synthetic.stub())
    assert (sums["components"], sums["parts"], sums["python_lines"], sums["own_lines"]) == (5, 1, 10, 1)


def test_every_file_of_the_root_is_listed(image: Image) -> None:
    listed = {file.path for item in bom.of_image(image) for file in item.files}
    assert {f"/{row['path']}" for row in image.manifest["root"] if "sha256" in row} < listed
    assert listed >= {"vmlinuz", "linuxx64.efi.stub"}


def test_a_manifest_that_lacks_something(image: Image) -> None:
    for name, value in (
        ("root", [1]),
        ("root", [{"sha256": ""}]),
        ("inputs", [{}]),
        ("inputs", []),
        ("fastness", None),
    ):
        with pytest.raises(Malformed):
            bom.of_image(replace(image, manifest={**image.manifest, name: value}))


def test_present_is_the_committed_list() -> None:
    found = bom.present()
    lock = (Path(__file__).resolve().parents[2] / "TCB.lock").read_text().splitlines()
    files = {line.split()[-1]: line.split()[1] for line in lock if line.startswith("file")}
    own = next(item for item in found if item.kind == "own")
    assert {file.path: file.sha256 for file in own.files} == files
    assert own.lines > 4000
    assert {item.name for item in found} - {"fastness"} == {
        line.split()[-1].split("==")[0] for line in lock if line.startswith("wheel")
    }
    assert all(item.licence for item in found)
    assert [item.size for item in found] == sorted((item.size for item in found), reverse=True)


def _check(component: dict[str, Any], references: list[str]) -> None:
    """CycloneDX 1.6, #/definitions/component: no other keys, required keys, enumerations and patterns."""
    assert set(component) <= COMPONENT
    assert component["type"] in TYPES
    assert component["name"]
    if "bom-ref" in component:
        references.append(component["bom-ref"])
    for row in component.get("hashes", ()):
        assert set(row) == {"alg", "content"}
        assert row["alg"] == "SHA-256"
        assert re.fullmatch(r"[0-9a-f]{64}", row["content"])
    for row in component.get("licenses", ()):
        assert set(row) == {"expression"}
        assert re.fullmatch(r"[A-Za-z0-9.()+ -]+", row["expression"])
    if "purl" in component:
        assert re.fullmatch(r"pkg:[a-z]+/[^\s:]+", component["purl"])
    for row in component.get("properties", ()):
        assert set(row) == {"name", "value"}
        assert isinstance(row["value"], str)
    for row in component.get("externalReferences", ()):
        assert row["type"] == "distribution"
        assert row["url"].startswith("https://")
    for inner in component.get("components", ()):
        _check(inner, references)


def _check_document(document: dict[str, Any]) -> None:
    assert set(document) == DOCUMENT
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    assert document["serialNumber"] == uuid.UUID(document["serialNumber"].removeprefix("urn:uuid:")).urn
    metadata = document["metadata"]
    assert set(metadata) <= {"timestamp", "tools", "component"}
    if "timestamp" in metadata:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["timestamp"])
    references: list[str] = []
    for component in (metadata["component"], *metadata["tools"]["components"], *document["components"]):
        _check(component, references)
    assert len(set(references)) == len(references)
    rows = {row["ref"]: row.get("dependsOn", []) for row in document["dependencies"]}
    assert set(rows) <= set(references)
    assert set(rows[metadata["component"]["bom-ref"]]) == {item["bom-ref"] for item in document["components"]}


def test_cyclonedx_of_an_image(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tcb", "--image", "--cyclonedx"]) == 0
    raw = capsys.readouterr().out
    document = json.loads(raw)
    _check_document(document)
    assert document["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": image.digest}]
    assert document["metadata"]["timestamp"] == "2026-10-21T22:34:41Z"
    rows = {row["name"]: row for row in document["components"]}
    assert rows["libx"]["purl"] == "pkg:deb/debian/libx@1%3A2%2B3~4?arch=amd64&distro=debian-12"
    assert rows["pure"]["purl"] == "pkg:pypi/pure@1%3A2%2B3~4"
    assert rows["linux-image-6"]["type"] == "operating-system"
    assert [inner["type"] for inner in rows["libx"]["components"]] == ["library", "file"]
    assert {"name": "fastness:reproducible", "value": "false"} in rows["libx"]["properties"]
    main(["tcb", "--image", str(image.folder), "--cyclonedx"])
    assert capsys.readouterr().out == raw


def test_cyclonedx_without_an_image() -> None:
    document = cyclonedx.document(bom.present())
    _check_document(document)
    assert "timestamp" not in document["metadata"]
    assert {row["name"] for row in document["components"]} >= {"fastness", "cryptography", "wasmtime"}


def test_a_checker_that_would_say_so() -> None:
    for change in (
        {"specVersion": "1.5"},
        {"extra": 1},
        {"serialNumber": "urn:uuid:1"},
        {"dependencies": [{"ref": "x"}]},
    ):
        with pytest.raises((AssertionError, ValueError, KeyError)):
            _check_document(cyclonedx.document(bom.present()) | change)


def test_words_and_json(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tcb", "--image", image.digest[:10]]) == 0
    told = capsys.readouterr()
    assert "libx 1:2+3~4  MIT" in told.out
    assert "holds 1 libraries, told by its own bill of materials" in told.out
    assert "/usr/lib/lib.so" not in told.out
    assert image.digest in told.err
    assert main(["tcb", "--image", "--files"]) == 0
    assert "/usr/lib/lib.so" in capsys.readouterr().out
    assert main(["tcb", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], len(document["launch"])) == ("fastness/tcb/v2", 96)
    assert document["totals"]["own_lines"] == sum(
        row["lines"] for row in document["components"] if row["kind"] == "own"
    )
    assert main(["tcb", "--image", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["image"] == image.digest
    assert document["components"][0]["files"][0]["path"] == "vmlinuz"
    assert main(["tcb", "--image", "nowhere"]) == 2
