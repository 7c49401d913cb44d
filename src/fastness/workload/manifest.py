"""The workload manifest, ``fastness.toml``: everything a workload is granted. Nothing is granted that is not written.

``Enarx.toml`` (enarx-config 0.7: steward, args, env, files) is read as it stands; the other keys are ours. The manifest
has two faces with one reader behind them: TOML (:mod:`fastness.workload.written`), and canonical CBOR (RFC 8949 section
4.2.1), which is the configuration the keep measures before the first instruction. Assets are named by their
SHA-256 in the second; secrets by name only in both: no value of a secret is ever part of a manifest.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

from fastness.errors import FastnessError, Malformed, MalformedEvidence, UsageError
from fastness.wire import cbor
from fastness.workload import parts
from fastness.workload.fields import Fields, Path, dotted
from fastness.workload.limits import Limits
from fastness.workload.parts import STDIO, Asset, File, Secret, Volume

VERSION = 1
MAX_CONFIGURATION = 1 << 20
"""Most bytes of a manifest, in either form."""

ENTRIES = ("command", "service", "http")
CLOCKS = ("host", "tenant")


class Manifest(NamedTuple):
    """Everything granted to one workload.

    Attributes:
        entry: ``command`` (runs once), ``service`` or ``http``.
        args: arguments after argv[0], which is ``main.wasm`` as in Enarx.
        env: environment, sorted by name.
        files: descriptors by number.
        assets: read-only files, sorted by guest path.
        secrets: secrets by name, sorted.
        limits: what it may use up.
        hosts: names (``example.org``, ``*.example.org``, with ``:port`` if wished) it may connect to.
        volumes: sealed volumes.
        trap_imports: foreign modules whose functions the workload may import but that trap when called.
        publisher: SHA-256 of the publisher's public key, or empty.
        policy: SHA-256 of the policy the tenant decided by, or empty.
        steward: URL of the steward, or empty.
        clock: whose time the workload sees: ``host`` (not trusted), or ``tenant``, told inside the sealed release.
    """

    entry: str = "command"
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    files: tuple[File, ...] = STDIO
    assets: tuple[Asset, ...] = ()
    secrets: tuple[Secret, ...] = ()
    limits: Limits = Limits()
    hosts: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    trap_imports: tuple[str, ...] = ()
    publisher: bytes = b""
    policy: bytes = b""
    steward: str = ""
    clock: str = "host"

    def to_cbor(self) -> bytes:
        """The canonical configuration.

        Raises:
            UsageError: an asset has not been read yet (see :func:`fastness.workload.written.load_assets`).
        """
        unread = next((asset.path for asset in self.assets if len(asset.digest) != 32), None)
        if unread is not None:
            raise UsageError(
                f'the asset "{unread}" has not been read', hint="read the assets before packing the manifest"
            )
        return cbor.encode(to_data(self))

    @property
    def digest(self) -> bytes:
        """SHA-256 of :meth:`to_cbor`: what a keep reports as its configuration."""
        return sha256(self.to_cbor()).digest()


def from_cbor(data: bytes) -> Manifest:
    """The manifest in canonical ``data``; the inverse of :meth:`Manifest.to_cbor`.

    Raises:
        Malformed: anything that :meth:`Manifest.to_cbor` would not have written, to the byte.
    """

    def fault(path: Path, what: str, hint: str) -> FastnessError:
        return Malformed(f"configuration: {what}", where=dotted(path), hint=hint)

    if len(data) > MAX_CONFIGURATION:
        raise fault((), f"{len(data)} bytes, more than {MAX_CONFIGURATION}", "")
    try:
        value = cbor.decode(data, canonical=True)
    except MalformedEvidence as error:
        raise fault((), error.what, "") from None
    if not isinstance(value, dict) or value.pop("version", None) != VERSION:
        raise fault((), f"not a configuration of version {VERSION}", "use the same release of fastness on both sides")
    manifest = read(Fields(value, (), fault), measured=True)
    if manifest.to_cbor() != data:
        raise fault((), "not in canonical form", "")
    return manifest


def check_supported(manifest: Manifest) -> None:
    """Refuses what is understood but cannot be run yet, naming the key.

    Raises:
        UsageError: entry service or http, files of kind listen or connect, hosts, volumes, an odd order of stdio.
    """
    keys = [f'entry = "{manifest.entry}"'] if manifest.entry != "command" else []
    for number, file in enumerate(manifest.files):
        allowed = (("null", "stdin"), ("null", "stdout", "stderr"), ("null", "stdout", "stderr"))
        if number >= len(allowed) or file.kind not in allowed[number]:
            keys.append(f'files[{number}] kind = "{file.kind}"')
    keys += [name for name in ("hosts", "volumes") if getattr(manifest, name)]
    if keys:
        raise UsageError(
            f"not supported yet: {', '.join(keys)}",
            where=keys[0].partition(" ")[0],
            hint="this release runs commands with stdin, stdout, stderr, assets and secrets",
        )


def to_data(manifest: Manifest) -> dict[str, Any]:
    """The manifest as a table, of which :func:`read` makes it again."""
    return {
        "version": VERSION,
        "entry": manifest.entry,
        "args": list(manifest.args),
        "env": dict(manifest.env),
        "files": [_file_data(file) for file in manifest.files],
        "assets": {asset.path: {"size": asset.size, "sha256": asset.digest} for asset in manifest.assets},
        "secrets": {
            secret.name: {"env": secret.variable} if secret.variable else "file" for secret in manifest.secrets
        },
        "limits": {name: getattr(manifest.limits, name) or 0 for name in parts.LIMITS},
        "hosts": list(manifest.hosts),
        "volumes": {volume.path: {"size": volume.size} for volume in manifest.volumes},
        "trap_imports": list(manifest.trap_imports),
        "publisher": f"sha256:{manifest.publisher.hex()}" if manifest.publisher else "",
        "policy": f"sha256:{manifest.policy.hex()}" if manifest.policy else "",
        "steward": manifest.steward,
        "clock": manifest.clock,
    }


def _file_data(file: File) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": file.kind, "name": file.name}
    if file.prot:
        data |= {"prot": file.prot, "port": file.port, "addr" if file.kind == "listen" else "host": file.host}
    return data


def read(top: Fields, *, measured: bool) -> Manifest:
    """The manifest in the table ``top``, in its measured form or as it is written."""
    top.take("version")
    limits = top.table("limits")
    manifest = Manifest(
        entry=top.choice("entry", ENTRIES, "command"),
        args=top.texts("args"),
        env=parts.read_env(top.table("env")),
        files=parts.read_files(top),
        assets=parts.read_assets(top.table("assets"), measured=measured),
        secrets=parts.read_secrets(top.table("secrets")),
        limits=parts.read_limits(limits),
        hosts=tuple(parts.read_host(inner, at, item) for inner, at, item in top.items("hosts")),
        volumes=parts.read_volumes(top.table("volumes")),
        trap_imports=top.texts("trap_imports"),
        publisher=parts.read_digest(top, "publisher"),
        policy=parts.read_digest(top, "policy"),
        steward=parts.read_steward(top),
        clock=top.choice("clock", CLOCKS, "host"),
    )
    top.done()
    return manifest
