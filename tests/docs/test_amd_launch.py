"""The commands of docs/amd-launch.md work: its Python is run against a platform and a firmware in software."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from fastness.forge import sev as forge
from fastness.forge import snp
from fastness.forge.sev_firmware import Firmware
from fastness.tee import Collateral, sev
from fastness.tee.sev import launch
from fastness.tee.snp import identity
from fastness.wire import injected

PAGE = Path(__file__).resolve().parents[2] / "docs" / "amd-launch.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_launch_of_the_page() -> None:
    forged = forge.make({})
    firmware = Firmware(forge.ec_key("pdh"))
    guests = []

    def host(godh: bytes, blob: bytes) -> bytes:
        guests.append(firmware.start(godh, blob, 0x7))
        firmware.update(guests[0], b"a firmware and what it loads")
        return launch.encode(firmware.api, firmware.build, 0x7, firmware.measure(guests[0]))

    names: dict[str, Any] = {
        "platform": sev.verify(sev.parse(forged.evidence), Collateral(), forged.anchors, at=forged.at),
        "expected": hashlib.sha256(b"a firmware and what it loads").digest(),
        "host": host,
    }
    exec(BLOCKS[0], names)
    found = injected.entries(firmware.secret(guests[0], names["header"], names["data"]))
    assert len(found[injected.KEEP]) == 32


def test_the_id_block_of_the_page() -> None:
    names: dict[str, Any] = {
        "digest": bytes(48), "owner_key": snp.owner_key("id"), "author_key": snp.owner_key("author"),
        "image_id": bytes(16),
    }  # fmt: skip
    exec(BLOCKS[1], names)
    assert identity.block(names["block"]).guest_svn == 3
    assert identity.authentication(names["proof"]).author is not None


def test_the_page_names_every_field_of_its_documents() -> None:
    text = PAGE.read_text()
    for name in (*launch._NUMBERS, *launch._MEASURED, *launch._KEYS, "digests", "key"):
        assert f"`{name}`" in text, name
    assert launch.RECORD in text
    assert launch.MEASUREMENT in text
