"""The kernel that somebody names for the enclave image: checked, pinned, kept, in ``keep.eif`` and nowhere else."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import synthetic
from fastness.cli import expected, host
from fastness.cli.main import main
from fastness.errors import FastnessError, Malformed, UsageError
from fastness.host.launch.qemu import Settings
from fastness.host.survey import enclave as surveyed
from fastness.image import bom, build, cpio, cyclonedx, eif, enclave, fetch, modules, reproduce, store
from fastness.image.cache import Cache
from fastness.image.measure import Machine, Parts, nitro
from fastness.image.store import Image

WHOLE = synthetic.config(*(f"CONFIG_{name}=y" for name in enclave.NEEDED))
NSM = synthetic.module(name="nsm", vermagic="6.12-own SMP", alias="virtio:d00000021v*", depends="")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


class Bench:
    """Files, a cache, and what was said."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.cache = Cache(place / "inputs")
        self.said: list[str] = []

    def file(self, name: str, data: bytes) -> Path:
        (self.place / name).write_bytes(data)
        return self.place / name

    def named(self, kernel: bytes, **drivers: bytes) -> tuple[Any, ...]:
        held = [self.file(f"{name}.ko", data) for name, data in drivers.items()]
        return enclave.inputs(self.file("bzImage", bytes(kernel)), held, self.cache, self.said.append)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def made(pins: tuple[Any, ...], cache: Cache, *, debug: bool = False) -> tuple[dict[str, Any], dict[str, bytes]]:
    base = (synthetic.item("deb", "libx", b"x"), synthetic.item("deb", "linux-image-6", b"k"),
            synthetic.item("deb", "systemd-boot-efi", b"b"))  # fmt: skip
    pinned = synthetic.lock(*base, *pins)
    return build.assemble(pinned, replace(synthetic.contents(), enclave=enclave.of(pinned, cache)), debug=debug)


def placed(bench: Bench, kernel: bytes, **drivers: bytes) -> Image:
    image = store.place(*made(bench.named(kernel, **drivers), bench.cache))
    store.remember(image, "k")
    return image


# what is refused, and what is said


def test_every_option_that_is_lacking_is_named(bench: Bench) -> None:
    have = [f"CONFIG_{name}=y" for name in enclave.NEEDED if name not in ("TMPFS", "NSM")]
    told = synthetic.config(*have, "CONFIG_NSM=m")
    with pytest.raises(UsageError) as caught:
        bench.named(synthetic.bzimage(told))
    assert caught.value.what == "Linux 6.12-own lacks what an enclave needs: CONFIG_NSM, CONFIG_TMPFS"
    assert "--nitro-module" in caught.value.hint
    assert not bench.cache.place.exists()
    bench.named(synthetic.bzimage(WHOLE))
    assert bench.said == ["Linux 6.12-own for the enclave image: has every option that an enclave needs"]


def test_a_module_makes_up_for_its_option_but_none_for_the_command_line(bench: Bench) -> None:
    lines = [f"CONFIG_{name}=y" for name in enclave.NEEDED if name not in ("NSM", enclave.COMMAND_LINE)]
    with pytest.raises(UsageError, match=r"needs: CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES$"):
        bench.named(synthetic.bzimage(synthetic.config(*lines)), nsm=NSM)
    lines = [f"CONFIG_{name}=y" for name in enclave.NEEDED if name != "VIRTIO_MMIO"]
    bus = synthetic.module(name="virtio_mmio", vermagic="6.12-own SMP")
    with pytest.raises(UsageError, match=r"needs: CONFIG_VIRTIO_MMIO$"):
        bench.named(synthetic.bzimage(synthetic.config(*lines, "CONFIG_VIRTIO_MMIO=m")), virtio_mmio=bus)


def test_without_a_configuration_the_drivers_names_are_looked_for(bench: Bench) -> None:
    bench.named(synthetic.bzimage())
    assert "tells no other option" in bench.said[0]
    for option, word in enclave.WORDS.items():
        with pytest.raises(UsageError, match=f"needs: CONFIG_{option}$"):
            bench.named(synthetic.bzimage(synthetic.DRIVERS.replace(word, b"")))
    assert len(bench.named(synthetic.bzimage(synthetic.DRIVERS.replace(enclave.WORDS["NSM"], b"")), nsm=NSM)) == 2


def test_a_kernel_that_cannot_be_unpacked_is_taken_and_that_is_said(bench: Bench) -> None:
    bench.named(synthetic.bzimage(packed=b"\x02\x21\x4c\x18rest"))
    assert bench.said == ["Linux 6.12-own for the enclave image: packed by lz4, so nothing of it could be checked"]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (b"\x1f\x8b\x08 compressed", "not a kernel module"),
        (synthetic.module(name="nsm", vermagic="6.6.38 SMP"), "a module of Linux 6.6.38, and the kernel is 6.12-own"),
        (synthetic.module(name="../nsm", vermagic="6.12-own SMP"), "tells no name"),
        (synthetic.module(name="nsm"), "no release"),
        (synthetic.module(name="nsm", vermagic="6.12-own SMP", depends="rng-core"), "nsm needs rng_core"),
    ],
)
def test_a_module_that_will_not_load_is_refused(bench: Bench, module: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        bench.named(synthetic.bzimage(), nsm=module)


def test_modules_come_in_the_order_of_their_needs(bench: Bench) -> None:
    held = {
        "a": synthetic.module(name="a", depends="c,b"),
        "b": synthetic.module(name="b", depends="c"),
        "c": synthetic.module(name="c", depends=""),
    }
    (table,) = [entry.data for entry in modules.given("6", held) if entry.path == "lib/modules/6/modules"]
    assert table.decode().splitlines() == ["c c.ko", "b b.ko c", "a a.ko c b"]
    circle = {"a": synthetic.module(name="a", depends="b"), "b": synthetic.module(name="b", depends="a")}
    assert len(modules.given("6", circle)) == 4
    assert modules.given("6", {}) == []


def test_files_that_are_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, said in ((bench.place / "absent", "no file"), (bench.place, "no file"), (Path("/dev/zero"), "no file")):
        with pytest.raises(UsageError, match=said):
            enclave.inputs(path, [], bench.cache, bench.said.append)
    with pytest.raises(UsageError, match="9 modules, at most 8"):
        enclave.inputs(bench.place, [bench.place] * 9, bench.cache, bench.said.append)
    with pytest.raises(UsageError, match="named twice"):
        bench.named(synthetic.bzimage(), nsm=NSM, again=NSM)
    with pytest.raises(UsageError, match="goes with --nitro-kernel"):
        build.with_kernel(synthetic.lock(), bench.cache, bench.said.append, None, [bench.place])
    monkeypatch.setattr(enclave, "MAX_FILE", 100)
    with pytest.raises(UsageError, match="more than 100 bytes"):
        bench.named(synthetic.bzimage())


# what it is in, and what it is not in


def test_only_the_enclave_image_has_it_and_the_manifest_names_it(bench: Bench) -> None:
    kernel = bytes(synthetic.bzimage(WHOLE))
    plain, before = made((), bench.cache)
    manifest, after = made(bench.named(kernel), bench.cache)
    assert {name for name in before if before[name] != after[name]} == {store.EIF}
    inside = eif.parse(after[store.EIF])
    assert (inside.kernel, inside.ramdisks) == (kernel, (after[store.INITRD],))
    assert b"6.12-own" in inside.metadata
    row = manifest["inputs"][-1]
    assert (row["kind"], row["name"], row["version"]) == ("kernel", "nitro-kernel", "6.12-own")
    assert row["sha256"] == manifest["nitro"]["parts"][0] == hashlib.sha256(kernel).hexdigest()
    assert "nitro" not in plain
    assert store.digest(plain) != store.digest(manifest)
    assert (bench.cache.place / row["sha256"]).read_bytes() == kernel


def test_where_the_file_lay_and_what_it_was_called_is_in_no_image(bench: Bench) -> None:
    one = made(bench.named(synthetic.bzimage()), bench.cache)
    other = bench.file("another name", bytes(synthetic.bzimage()))
    assert made(enclave.inputs(other, [], bench.cache, bench.said.append), bench.cache) == one


def test_modules_are_a_ramdisk_before_the_root(bench: Bench) -> None:
    image = placed(bench, synthetic.bzimage(WHOLE), nsm=NSM)
    first, second = eif.parse(image.eif.read_bytes()).ramdisks
    assert second == image.initrd.read_bytes()
    held = {entry.path: entry.data for entry in cpio.read(first)}
    assert held["lib/modules/6.12-own/nsm.ko"] == NSM
    assert held["lib/modules/6.12-own/modules"] == b"nsm nsm.ko\n"
    assert held["lib/modules/6.12-own/modules.alias"] == b"alias virtio:d00000021v* nsm\n"
    assert len(first) % 4 == 0  # the kernel looks for what follows an archive at multiples of four


def test_another_kernel_is_another_key(bench: Bench) -> None:
    pinned = synthetic.lock()
    keys = {build.key(pinned, debug=False)}
    for kernel, drivers in ((synthetic.DRIVERS, {}), (WHOLE, {}), (WHOLE, {"nsm": NSM})):
        inputs = bench.named(synthetic.bzimage(kernel), **drivers)
        keys.add(build.key(replace(pinned, inputs=inputs), debug=False))
    assert len(keys) == 4


# everything that reads an image


def parts_of(image: Image) -> Parts:
    return Parts(image.kernel.read_bytes(), image.initrd.read_bytes(), image.cmdline, b"", image.eif.read_bytes(),
                 image.nitro_parts)  # fmt: skip


def test_measured_as_it_is_and_refused_as_anything_else(bench: Bench) -> None:
    image = placed(bench, synthetic.bzimage(WHOLE), nsm=NSM)
    (row,) = nitro.rows(parts_of(image), Machine())
    inside = eif.parse(image.eif.read_bytes())
    assert row.measurements == {name: (value.hex(),) for name, value in eif.registers(inside).items()}
    assert len({row.measurements[name] for name in ("pcr0", "pcr1", "pcr2")}) == 3
    swapped = eif.unparse(replace(inside, ramdisks=(inside.ramdisks[0], b"another root")))
    hashes = tuple(hashlib.sha256(data).hexdigest() for data in (inside.kernel, inside.ramdisks[0], b"another root"))
    for change in ({"nitro": ()}, {"eif": b""}, {"eif": swapped}, {"eif": swapped, "nitro": hashes}, {"cmdline": "x"}):
        with pytest.raises(UsageError, match="holds other parts"):
            nitro.rows(replace(parts_of(image), **change), Machine())  # type: ignore[arg-type]


def test_what_is_signed_and_what_the_self_test_expects_is_the_same(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    image = placed(bench, synthetic.bzimage(WHOLE), nsm=NSM)
    (row,) = nitro.rows(parts_of(image), Machine())
    assert expected.COMPUTED["nitro"]("nitro", Settings(str(image.folder))) == [row.measurements]
    assert main(["image", "measure", image.digest, "--platform", "nitro"]) == 0
    told = capsys.readouterr().out
    assert all(values[0] in told for values in row.measurements.values())
    assert "a ramdisk of modules and the root" in told


def test_listed_among_what_is_inside(bench: Bench) -> None:
    image = placed(bench, synthetic.bzimage(WHOLE), nsm=NSM)
    found = {item.name: item for item in bom.of_image(image)}
    kernel, module = found["nitro-kernel"], found["nitro-module-nsm"]
    assert (kernel.kind, kernel.version, kernel.files[0].path) == ("kernel", "6.12-own", "keep.eif: bzImage")
    assert (module.kind, module.size, module.reproducible) == ("module", len(NSM), False)
    rows = {row["name"]: row for row in cyclonedx.document(bom.of_image(image))["components"]}
    assert rows["nitro-kernel"]["type"] == rows["linux-image-6"]["type"]
    assert rows["nitro-kernel"]["purl"] == "pkg:generic/nitro-kernel@6.12-own"


def test_built_again_from_the_manifest_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    image = placed(bench, synthetic.bzimage(WHOLE), nsm=NSM)
    asked: list[Any] = []

    def again(pinned: Any, cache: Cache, say: object, *, debug: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
        asked.append(pinned)
        return build.assemble(pinned, replace(synthetic.contents(), enclave=enclave.of(pinned, cache)), debug=debug)

    monkeypatch.setattr(build, "made", again)
    manifest, artefacts = reproduce.again(image.manifest, bench.cache, bench.said.append)
    assert [item.kind for item in asked[0].inputs[-2:]] == ["kernel", "module"]
    assert len(artefacts) == len(store.ARTEFACTS)
    assert manifest["nitro"] == image.manifest["nitro"]
    for path in bench.cache.place.iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="no archive has it") as caught:
        fetch.fetch(replace(asked[0], inputs=asked[0].inputs[-1:]), bench.cache, bench.said.append)
    assert "nsm.ko" in caught.value.hint


def test_an_image_says_which_kernel_its_enclave_has(bench: Bench) -> None:
    plain = store.place(*made((), bench.cache))
    store.remember(plain, "k")
    assert (plain.nitro_kernel, plain.nitro_parts) == ("", ())
    (need,) = surveyed(Settings())
    assert need.there
    assert "not expected to reach its vsock" in need.seen
    assert "--nitro-kernel" in need.remedy
    own = placed(bench, synthetic.bzimage())
    assert own.nitro_kernel == "6.12-own"
    assert [(need.seen, need.remedy) for need in surveyed(Settings())] == [("Linux 6.12-own", "")]


@pytest.mark.parametrize("value", [None, [], {}, {"kernel": "6"}, {"kernel": "6", "parts": None}])
def test_a_manifest_that_says_it_badly_is_refused(bench: Bench, value: object) -> None:
    manifest, artefacts = made(bench.named(synthetic.bzimage()), bench.cache)
    with pytest.raises(FastnessError, match=r"manifest\.json cannot be read"):
        store.place({**manifest, "nitro": value}, artefacts)


def test_a_damaged_input_is_refused_by_its_hash(bench: Bench) -> None:
    pins = bench.named(synthetic.bzimage())
    (bench.cache.place / pins[0].sha256).write_bytes(bytes(synthetic.bzimage(gzip.compress(b"x"))))
    with pytest.raises(UsageError, match="not what the lock names"):
        made(pins, bench.cache)


# who is told


def test_whoever_builds_surveys_or_serves_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = store.place(*made((), bench.cache))
    given: list[Any] = []

    def built(say: object, **more: Any) -> Image:
        given.append((more["kernel"], more["modules"]))
        store.remember(image, "k")
        return image

    monkeypatch.setattr(build, "build", built)
    words = ["image", "build", "--nitro-kernel", "bz", "--nitro-module", "a.ko", "--nitro-module", "b.ko"]
    for command, note in ((["image", "build"], True), (["platforms"], True), (words, False), (["platforms"], False)):
        if command is words:
            image = placed(bench, synthetic.bzimage())
        assert main(command) == 0
        told = capsys.readouterr()
        assert ("not expected to reach its vsock" in told.out + told.err) is note
        assert ("fastness image build --nitro-kernel FILE" in told.out + told.err) is note
        host._note(argparse.Namespace(image=""))
        assert ("note: kernel of the enclave" in capsys.readouterr().err) is note
    assert given == [(None, []), (Path("bz"), [Path("a.ko"), Path("b.ko")])]


def test_a_published_digest_is_rebuilt_with_the_kernel_its_builder_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def again(pinned: Any, cache: Cache, say: object, *, debug: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
        asked.append(pinned.inputs[-1].kind)
        return {"debug": debug, "inputs": [item.sha256 for item in pinned.inputs]}, {}

    monkeypatch.setattr(build, "made", again)
    kernel = bench.file("bzImage", bytes(synthetic.bzimage()))
    main(["image", "reproduce", "0" * 64, "--json", "--nitro-kernel", str(kernel), "--inputs", str(bench.cache.place)])
    digest = json.loads(capsys.readouterr().out)["again"]
    assert asked == ["kernel", "kernel"]
    assert main(["image", "reproduce", digest, "--nitro-kernel", str(kernel), "--inputs", str(bench.cache.place)]) == 0
    assert main(["image", "reproduce", digest, "--inputs", str(bench.cache.place)]) == 1


def test_the_recipe_asks_for_what_is_needed() -> None:
    recipe = Path(__file__).resolve().parents[2] / "tools" / "nitro_kernel.config"
    assert set(recipe.read_text().splitlines()) >= {f"CONFIG_{name}=y" for name in (*enclave.NEEDED, "IKCONFIG")}
