"""Everything of a workload, read and checked on the tenant's side before a host is even asked.

``app`` and its manifest are files; what the command line adds (arguments, environment, secrets) becomes part of the
effective manifest, which is what the keep measures.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fastness.errors import Malformed, UsageError
from fastness.seal.messages import Workload
from fastness.workload import manifest as manifests
from fastness.workload import parts, wasm, written

MAX_SECRET = 1 << 20
DEFAULT_CONFIG = "fastness.toml"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workload that is ready to be sealed."""

    wasm: bytes = field(repr=False)
    manifest: manifests.Manifest
    secrets: dict[str, bytes] = field(repr=False)
    assets: dict[str, bytes] = field(repr=False)
    owner: bytes = field(repr=False)

    def workload(self, *, attached: bool) -> Workload:
        """The release for it."""
        now = time.time_ns() // 1_000_000
        return Workload(self.wasm, self.manifest.to_cbor(), self.secrets, self.assets, self.owner, attached, now)


def prepare(
    app: Path,
    *,
    config: Path | None = None,
    args: Iterable[str] = (),
    env: Iterable[str] = (),
    secret: Iterable[str] = (),
) -> Prepared:
    """Reads ``app`` and what belongs to it.

    Args:
        app: a WebAssembly command.
        config: its manifest; without one, ``fastness.toml`` beside ``app`` if it exists, else an empty one.
        args, env, secret: as on the command line (``K=V``, ``NAME=@FILE``).

    Raises:
        UsageError: a file that cannot be read, a bad manifest, an import that is not granted, a secret with no value.
        Malformed: ``app`` is not WebAssembly, or cut.
    """
    binary = read(app, "the workload", wasm.MAX_BINARY)
    try:
        program = wasm.read(binary)
    except Malformed as error:
        raise Malformed(error.what, where=f"{app}, {error.where}", hint=error.hint) from None
    place = config or _beside(app)
    manifest = manifests.Manifest()
    if place is not None:
        manifest = written.parse(_text(place), str(place))
    values = dict(_secret(item) for item in secret)
    manifest = written.overridden(manifest, args=args, env=dict(map(_variable, env)), secrets=values)
    missing = [item.name for item in manifest.secrets if item.name not in values]
    if missing:
        raise UsageError(
            f"the manifest names the secret {missing[0]!r}, which has no value",
            where=str(place or ""),
            hint=f"--secret {missing[0]}=@FILE",
        )
    manifests.check_supported(manifest)
    wasm.check_grants(program, manifest)
    base = place.parent if place is not None else Path()
    manifest, assets = written.load_assets(manifest, lambda name: read(base / name, "an asset", parts.MAX_ASSETS))
    return Prepared(binary, manifest, values, assets, secrets.token_bytes(32))


def read(path: Path, what: str, limit: int) -> bytes:
    """The bytes of ``path``, at most ``limit``.

    Raises:
        UsageError: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(
            f"{what} cannot be read: {(error.strerror or '').lower()}",
            where=str(path),
            hint="check the path and who may read it",
        ) from None
    if len(data) > limit:
        raise UsageError(f"{what} is larger than {limit} bytes", where=str(path), hint="make it smaller")
    return data


def _beside(app: Path) -> Path | None:
    found = app.parent / DEFAULT_CONFIG
    return found if found.is_file() else None


def _text(place: Path) -> str:
    data = read(place, "the manifest", manifests.MAX_CONFIGURATION)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("the manifest is not UTF-8", where=f"{place}, byte {error.start}") from None


def _variable(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals or not name:
        raise UsageError(f"--env {item!r} is not K=V", hint="--env NAME=VALUE")
    return name, value


def _secret(item: str) -> tuple[str, bytes]:
    name, equals, source = item.partition("=")
    if not equals or not source.startswith("@") or len(source) < 2:
        # the value is not repeated: it may be the secret itself
        raise UsageError(
            f"--secret {name or '…'} must name a file",
            hint="--secret NAME=@FILE; secrets never stand on a command line",
        )
    return name, read(Path(source[1:]), f"the secret {name!r}", MAX_SECRET)
