"""The commands around signing: keys, policies, reference values, and `--owners` wherever a policy is named."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fastness.appraise import policy, reference
from fastness.appraise.reference import Row, Statement
from fastness.cli.main import main

RULES = '# our rules\n[[rule]]\nid = "r"\neffect = "accept"\nwhen = { tee = "snp" }\nrequire = { debug = false }\n'


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two keys, both owners, both needed; a policy; reference values."""
    monkeypatch.chdir(tmp_path)
    lines = ['schema = "fastness/keys/v1"\nthreshold = 2\n']
    for name, kind in (("alice", "ed25519"), ("bob", "p-256")):
        assert main(["policy", "keygen", f"{name}.pem", "--kind", kind]) == 0
        lines.append(capsys.readouterr().out)
    (tmp_path / "owners.toml").write_text("".join(lines))
    (tmp_path / "ours.toml").write_text(RULES)
    rows = (Row("snp", {"launch": ("ab" * 48,)}),)
    statement = Statement("keep-images", "im", datetime(2026, 1, 1, tzinfo=UTC), None, rows)
    (tmp_path / "values.toml").write_text(reference.dump_toml(statement))
    return tmp_path


def test_a_new_key_is_nobody_else_s_to_read_and_never_overwritten(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = place / "alice.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    assert main(["policy", "keygen", "alice.pem"]) == 2
    assert key.read_bytes() == before
    assert "a file already" in capsys.readouterr().err
    assert not [item for item in place.iterdir() if item.name.startswith(".")]


def test_a_policy_signed_by_two_owners(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify = ["policy", "verify", "ours.toml.dsse.json", "--owners", "owners.toml"]
    assert main(["policy", "sign", "ours.toml", "--key", "alice.pem"]) == 0
    assert main(verify) == 1
    assert "NOT ENOUGH: signed by alice, 2 needed; missing bob" in capsys.readouterr().out
    assert main(["policy", "sign", "ours.toml.dsse.json", "--key", "bob.pem"]) == 0
    assert main([*verify, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["signed"], told["enough"]) == (["alice", "bob"], True)
    assert told["policy"]["sha256"] == policy.load("ours.toml").digest
    assert main(["policy", "show", "ours.toml.dsse.json", "--owners", "owners.toml"]) == 0
    shown = capsys.readouterr().out
    assert main(["policy", "show", "ours.toml", "--canonical"]) == 0
    assert shown == capsys.readouterr().out
    assert "# our rules" not in shown


def test_owners_are_asked_for_by_option_and_environment(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["policy", "sign", "ours.toml", "--key", "alice.pem"])
    for name in ("ours.toml", "ours.toml.dsse.json", "strict"):
        assert main(["verify", "values.toml", "--policy", name, "--owners", "owners.toml"]) == 2
        assert main(["policy", "check", name, "--owners", "owners.toml"]) == 2
        assert "signed" in capsys.readouterr().err
    assert main(["verify", "values.toml", "--owners", "owners.toml"]) == 2
    assert "--owners without a policy" in capsys.readouterr().err
    monkeypatch.setenv("FASTNESS_OWNERS", "owners.toml")
    assert main(["policy", "show", "ours.toml"]) == 2
    assert main(["policy", "sign", "ours.toml.dsse.json", "--key", "bob.pem"]) == 0
    assert main(["policy", "show", "ours.toml.dsse.json"]) == 0
    capsys.readouterr()
    # nothing here is evidence: it comes as far as that
    assert main(["verify", "values.toml", "--policy", "ours.toml.dsse.json"]) == 3


def test_reference_values_are_signed_counted_and_converted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> int:
        return main(["policy", "reference", *words])

    assert run("values.toml", "--key", "alice.pem", "--output", "v.dsse.json") == 0
    assert run("v.dsse.json", "--key", "bob.pem", "--output", "v.dsse.json") == 0
    assert run("v.dsse.json", "--auditors", "owners.toml", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["signatures"]["signed"] == ["alice", "bob"]
    assert told["statement"]["values"][0]["measurements"] == {"launch": ["ab" * 48]}
    assert run("values.toml", "--to", "corim", "--output", "v.corim") == 0
    assert run("v.corim", "--key", "alice.pem", "--to", "corim", "--name", "Alice", "--output", "s.corim") == 0
    assert run("s.corim", "--auditors", "owners.toml") == 1
    assert "signed by alice, 2 needed" in capsys.readouterr().err
    assert run("s.corim", "--to", "toml", "--output", "back.toml") == 0
    assert reference.load("back.toml") == reference.load("values.toml")
    assert run("values.toml", "--to", "dsse") == 2
    assert run("values.toml", "--to", "toml", "--key", "alice.pem") == 2
    assert run("ours.toml") == 2
    assert "schema" in capsys.readouterr().err


def test_a_key_is_never_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "broken.pem").write_bytes((place / "alice.pem").read_bytes().replace(b"MC4C", b"MC4D"))
    assert main(["policy", "sign", "ours.toml", "--key", "broken.pem"]) == 2
    assert main(["policy", "sign", "ours.toml", "--key", "ours.toml"]) == 2
    secret = (place / "alice.pem").read_text().splitlines()[1]
    captured = capsys.readouterr()
    assert secret not in captured.out + captured.err


def test_reference_values_in_a_policy_by_two_auditors(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["policy", "reference", "values.toml", "--key", "alice.pem", "--output", "a.json"])
    main(["policy", "reference", "values.toml", "--key", "bob.pem", "--to", "corim", "--output", "b.corim"])
    head = '[[reference]]\nfiles = ["a.json", "b.corim"]\nauditors = "owners.toml"\n'
    rules = RULES.replace("debug = false", 'debug = false, measurements = "@keep-images"')
    (place / "ours.toml").write_text(head + rules)
    assert main(["policy", "sign", "ours.toml", "--key", "alice.pem"]) == 0
    for name in ("a.json", "b.corim"):
        (place / name).unlink()
    chosen = policy.load("ours.toml.dsse.json")
    keep = '{"genuine":true,"verdict":null,"claims":{"tee":"snp","simulated":false,"debug":false,"measurements":%s}}'
    (place / "keeps").write_text(keep % json.dumps({"launch": "ab" * 48}) + "\n")
    capsys.readouterr()
    assert main(["policy", "try", "ours.toml.dsse.json", "keeps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["policy"]["sha256"] == chosen.digest
    (place / "keeps").write_text(keep % json.dumps({"launch": "cd" * 48}) + "\n")
    assert main(["policy", "try", "ours.toml.dsse.json", "keeps"]) == 1


def test_values_that_too_few_sign_are_remarked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["policy", "reference", "values.toml", "--key", "alice.pem", "--output", "a.json"])
    head = '[[reference]]\nfiles = ["a.json"]\nauditors = "owners.toml"\n'
    rules = RULES.replace("debug = false", 'debug = false, measurements = "@keep-images"')
    (place / "ours.toml").write_text(head + rules)
    capsys.readouterr()
    assert main(["policy", "check", "ours.toml"]) == 1
    told = capsys.readouterr().out
    assert (
        "not-vouched: policy: 1 of 1 rows of @keep-images do not count: signed by alice, 2 needed; missing bob" in told
    )
    main(["policy", "reference", "a.json", "--key", "bob.pem", "--output", "a.json"])
    main(["policy", "check", "ours.toml"])
    assert "not-vouched" not in capsys.readouterr().out
