"""The manifest as its author writes it: TOML whose errors say file, line and column, and what a command line adds.

The tenant's side alone: a keep reads the measured form (:func:`fastness.workload.manifest.from_cbor`) and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256

from fastness.errors import FastnessError, UsageError
from fastness.wire import toml
from fastness.workload.fields import Fields, Path
from fastness.workload.manifest import MAX_CONFIGURATION, Manifest, read, to_data
from fastness.workload.parts import MAX_ASSETS


def parse(text: str, file: str = "fastness.toml") -> Manifest:
    """The manifest written in ``text``. Assets are named, not read.

    Raises:
        UsageError: with file, line and column, and the nearest key for an unknown one.
    """
    if len(text) > MAX_CONFIGURATION:
        raise UsageError(f"the manifest is longer than {MAX_CONFIGURATION} characters", where=file)
    document = toml.parse(text, file)
    return _read(document.data, _usage(file, document))


def overridden(
    manifest: Manifest,
    *,
    args: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
) -> Manifest:
    """``manifest`` with more on the command line: args replace, env adds or replaces, new secrets become files.

    Raises:
        UsageError: a name or value that no manifest could hold.
    """
    data = to_data(manifest)
    data["args"] = list(args) or data["args"]
    data["env"] = {**data["env"], **(env or {})}
    data["secrets"] = {**dict.fromkeys(secrets, "file"), **data["secrets"]}
    assets = data.pop("assets")
    return _read(data, _usage("command line", None))._replace(assets=manifest.assets if assets else ())


def load_assets(manifest: Manifest, source: Callable[[str], bytes]) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest with sizes and digests of its assets, and their content by guest path.

    Args:
        manifest: with ``source`` in every asset.
        source: gives the content of a source file; relative names are relative to the manifest's folder.

    Raises:
        UsageError: more than :data:`MAX_ASSETS` in all; and whatever ``source`` raises.
    """
    content = {asset.path: source(asset.source) for asset in manifest.assets}
    total = sum(map(len, content.values()))
    if total > MAX_ASSETS:
        raise UsageError(f"the assets are {total} bytes, more than {MAX_ASSETS}", where="assets")
    assets = tuple(
        asset._replace(size=len(content[asset.path]), digest=sha256(content[asset.path]).digest())
        for asset in manifest.assets
    )
    return manifest._replace(assets=assets), content


def _read(data: Mapping[str, object], fault: Callable[[Path, str, str], FastnessError]) -> Manifest:
    return read(Fields(data, (), fault, toml.nearest), measured=False)


def _usage(file: str, document: toml.Document | None) -> Callable[[Path, str, str], FastnessError]:
    def fault(path: Path, what: str, hint: str) -> FastnessError:
        if document is None:
            return UsageError(what, where=file, hint=hint)
        at = document.where(path)
        return UsageError(what, where=f"{file}:{at.line}:{at.column}", hint=hint)

    return fault
