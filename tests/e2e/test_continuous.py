"""Trust goes on being asked for: a keep that would not be accepted today is told, and ended if its owner wishes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.conftest import Home, children, eventually

GOOD = """
[[rule]]
id = "trying"
effect = "accept"
when = { tee = "nil" }
require = { debug = false, simulated = true }
"""
STRICTER = (
    GOOD
    + """
[[rule]]
id = "no-simulation"
effect = "refuse"
why = "we are past trying"
when = { simulated = true }
"""
)


@pytest.fixture
def stand(home: Home) -> Home:
    (home.path / "good.toml").write_text(GOOD)
    (home.path / "stricter.toml").write_text(STRICTER)
    (home.path / "grace.toml").write_text('[limits]\ngrace = "20 s"\n')
    home.serve("--spare", "0")
    return home


def deployed(home: Home, name: str, *words: object) -> str:
    done = home.deploy(name, "--policy", home.path / "good.toml", "--detach", *words)
    assert done.code == 0, done.err
    return done.out.decode().strip()


def running(home: Home) -> int:
    return len(children(home.hosts[0].pid))


def test_a_keep_that_would_be_refused_now_is_told_with_the_rule_and_left_alone(stand: Home) -> None:
    keep = deployed(stand, "spin")
    assert stand.do("keep", "status", keep).code == 0
    told = stand.do("keep", "status", keep, "--policy", stand.path / "stricter.toml")
    assert told.code == 1
    assert b"no-simulation" in told.out
    assert "--enforce ends it" in told.err
    assert stand.do("keep", "status", keep).code == 0
    assert running(stand) == 1


def test_a_policy_that_never_asks_for_what_runs_refuses_it_and_may_end_it_by_word(stand: Home) -> None:
    keep = deployed(stand, "patient", "--config", stand.path / "grace.toml")
    told = stand.do("keep", "status", keep, "--policy", "default")
    assert told.code == 1, told.err
    done = stand.do("keep", "status", keep, "--policy", "default", "--enforce", "--json")
    assert json.loads(done.out)["how"] == "its workload was told and has ended"


def test_what_a_new_policy_would_refuse_of_what_runs_is_told_beforehand(stand: Home) -> None:
    keep = deployed(stand, "spin")
    planned = stand.do("policy", "plan", stand.path / "stricter.toml")
    assert planned.code == 1
    assert planned.out.decode().startswith(f"accept -> refuse  {keep}  policy.rule.no-simulation")
    assert stand.do("policy", "plan", stand.path / "good.toml").code == 0
    assert stand.do("keep", "stop", keep).code == 0
    assert stand.do("policy", "plan", stand.path / "good.toml").code == 2


def test_enforcing_tells_the_workload_first_and_ends_within_its_grace(stand: Home) -> None:
    keep = deployed(stand, "patient", "--config", stand.path / "grace.toml")
    done = stand.do("keep", "status", keep, "--policy", stand.path / "stricter.toml", "--enforce", "--json")
    row = json.loads(done.out)
    assert done.code == 1
    assert row["verdict"]["verdict"] == "refuse"
    assert row["ended_by_us"] is True
    assert row["how"] == "its workload was told and has ended"
    assert eventually(lambda: running(stand) == 0)
    assert not list((stand.path / "state/fastness/keeps").glob("*.json"))


def test_a_workload_that_will_not_end_is_ended_when_its_grace_is_over(stand: Home) -> None:
    (stand.path / "short.toml").write_text('[limits]\ngrace = "1 s"\n')
    keep = deployed(stand, "spin", "--config", stand.path / "short.toml")
    done = stand.do("keep", "status", keep, "--policy", stand.path / "stricter.toml", "--enforce")
    assert done.code == 1
    assert eventually(lambda: running(stand) == 0)


def test_every_keep_on_record_is_asked(stand: Home) -> None:
    keeps = sorted(deployed(stand, "spin") for _ in range(2))
    done = stand.do("keep", "status", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert [row["id"] for row in document["keeps"]] == keeps
    refused = stand.do("keep", "status", "--policy", stand.path / "stricter.toml", "--enforce")
    assert refused.code == 1
    assert eventually(lambda: running(stand) == 0)
    none = stand.do("keep", "status")
    assert none.code == 2
    assert "on record" in none.err


def test_only_the_owner_ends_by_word_and_a_stranger_by_nothing(stand: Home, tmp_path: Path) -> None:
    keep = deployed(stand, "patient", "--config", stand.path / "grace.toml")
    for record in (stand.path / "state/fastness/keeps").glob("*.json"):
        record.write_text(record.read_text().replace(json.loads(record.read_text())["owner"], "00" * 32))
    done = stand.do("keep", "status", keep, "--policy", stand.path / "stricter.toml", "--enforce", "--json")
    assert json.loads(done.out)["how"] == "its host was asked to end it"


def test_the_owners_of_a_policy_are_asked_for_as_long_as_the_keep_lives(stand: Home) -> None:
    key = stand.do("policy", "keygen", "alice.pem")
    (stand.path / "owners.toml").write_bytes(b'schema = "fastness/keys/v1"\nthreshold = 1\n' + key.out)
    assert stand.do("policy", "sign", "good.toml", "--key", "alice.pem").code == 0
    signed = stand.path / "good.toml.dsse.json"
    done = stand.deploy("spin", "--policy", signed, "--owners", stand.path / "owners.toml", "--detach")
    assert done.code == 0, done.err
    keep = done.out.decode().strip()
    assert stand.do("keep", "status", keep).code == 0
    signed.write_text(GOOD)  # somebody else's word, in the place of the owners'
    told = stand.do("keep", "status", keep)
    assert told.code == 2
    assert "sign" in told.err
    assert running(stand) == 1


def test_a_detached_workload_is_given_no_input(stand: Home) -> None:
    (stand.path / "input").write_text("x")
    told = stand.deploy("cat", "--policy", stand.path / "good.toml", "--detach", "--stdin", stand.path / "input")
    assert told.code == 102
    assert "--stdin" in told.err
    assert running(stand) == 0
