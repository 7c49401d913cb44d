"""Lays out what a workload sees as ``/``: its assets, checked against the measured configuration, and secret files.

The folder is the private tmpfs that the sandbox made for this keep alone, so nothing of it reaches a disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from fastness.errors import KeepFailed, Malformed, UsageError
from fastness.workload.manifest import Manifest


def needs_root(manifest: Manifest) -> bool:
    """Whether the workload needs a root folder at all."""
    return bool(manifest.assets) or any(secret.path for secret in manifest.secrets)


def check(manifest: Manifest, assets: Mapping[str, bytes], secrets: Mapping[str, bytes]) -> None:
    """Refuses a delivery that is not what ``manifest`` says.

    Raises:
        Malformed: an asset is missing, too many, or not the one measured.
        UsageError: a secret is missing or not declared.
    """
    measured = {asset.path: asset for asset in manifest.assets}
    for path in sorted(measured.keys() ^ assets.keys()):
        raise Malformed(f"asset {path} is {'missing' if path in measured else 'not in the configuration'}", where=path)
    for path, asset in measured.items():
        if len(assets[path]) != asset.size or sha256(assets[path]).digest() != asset.digest:
            raise Malformed(f"asset {path} is not the one in the configuration", where=path)
    declared = {secret.name for secret in manifest.secrets}
    for name in sorted(declared ^ secrets.keys()):
        if name in declared:
            raise UsageError(f"the secret {name} was not given", hint=f"give it with --secret {name}=@FILE")
        raise UsageError(f"the secret {name} is not declared", hint="declare it under [secrets]")


def write(root: Path, manifest: Manifest, assets: Mapping[str, bytes], secrets: Mapping[str, bytes]) -> None:
    """Writes assets and secret files under ``root``, each readable by the keep alone.

    Raises:
        Malformed, UsageError: as :func:`check`.
        KeepFailed: no space, or the folder is not writable.
    """
    check(manifest, assets, secrets)
    files = dict(assets) | {secret.path: secrets[secret.name] for secret in manifest.secrets if secret.path}
    for path, content in files.items():
        target = root / path.lstrip("/")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError as error:
            raise KeepFailed(
                f"{path} cannot be written: {(error.strerror or 'error').lower()}",
                where=path,
                hint="assets and secrets are held in memory; make them smaller",
            ) from None
