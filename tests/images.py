"""The keep image, for tests that boot it: built once, from cached inputs or the archives; skipped otherwise."""

from __future__ import annotations

import fcntl
import os
import shutil
from functools import cache

import pytest

from fastness.errors import UsageError
from fastness.image import build, fetch, lock
from fastness.image.cache import Cache, home
from fastness.image.store import Image


@cache
def keep_image(*, debug: bool = False) -> Image:
    """The image of this tree."""
    pinned, cache_ = lock.read(), Cache(home() / "inputs")
    home().mkdir(parents=True, exist_ok=True)
    with (home() / ".tests").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # tests run in several processes; one builds
        try:
            build.compressor(pinned)
            fetch.fetch(pinned, cache_, lambda _: None)
        except UsageError as error:
            pytest.skip(f"the image's inputs are not to be had: {error.what}")
        return build.build(lambda _: None, debug=debug)


def machines() -> None:
    """Skips where no machine with a TPM can be started."""
    from fastness.host.launch import qemu

    for program in (qemu.PROGRAM, "swtpm", "swtpm_setup", "swtpm_localca"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not any(map(os.path.isfile, qemu.FIRMWARE)):
        pytest.skip("no OVMF is installed")
