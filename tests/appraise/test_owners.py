"""Files of keys and the counting of signatures; and what a rule is about. Condition by condition."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastness.appraise import owners, signed
from fastness.appraise.policy import load, opened, parse
from fastness.appraise.rules import Rule
from fastness.errors import UsageError
from fastness.pki import dsse, signer

AT = datetime(2026, 11, 1, tzinfo=UTC)
SIGNERS = [signer.generate("ed25519") for _ in range(3)]
TEXT = [base64.b64encode(item.public).decode() for item in SIGNERS]


def row(name: str = '"alice"', key: str = TEXT[0], more: str = "") -> str:
    return f'[[key]]\nname = {name}\nkey = "{key}"\n{more}'


def ring(*rows: str, head: str = "") -> owners.Keyring:
    return owners.parse(f'schema = "fastness/keys/v1"\n{head}{"".join(rows or [row()])}'.encode(), "k.toml")


def wrong(*rows: str, head: str = "") -> str:
    with pytest.raises(UsageError) as error:
        ring(*rows, head=head)
    assert error.value.hint and error.value.where.startswith("k.toml:")
    return error.value.what


TWO = [row(), row('"bob"', TEXT[1])]


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        ([row('""')], "", "a key has a name"), ([row("5")], "", "a key has a name"),
        ([row("[]")], "", "a key has a name"),
        ([row(more="why = 5\n")], "", "a key has a name"), ([row(more="nosuch = 1\n")], "", "unknown key 'nosuch'"),
        ([row(), row('"alice"', TEXT[1])], "", "twice"), ([row(), row('"bob"')], "", "twice"),
        (TWO, "threshold = 0\n", "threshold 0 of 2"), (TWO, "threshold = 3\n", "threshold 3 of 2"),
        (TWO, "threshold = true\n", "threshold True of 2"), (TWO, "threshold = 1.0\n", "threshold 1.0 of 2"),
        ([""], "key = 5\n", "1 to 64"), ([""], 'key = "k"\n', "1 to 64"), ([""], "key = [5]\n", "must be written as"),
        ([""], "[key]\nname = 5\n", "1 to 64"), ([""], "", "1 to 64"), (TWO, "withdrawn = 5\n", "must be written as"),
        (TWO, 'withdrawn = ["x"]\n', "must be written as"),
        ([row(more="expires = 2027-01-01T00:00:00\n")], "", "a time with a zone"),
        ([row(more='expires = "2027"\n')], "", "a time with a zone"), ([row(key="")], "", "no public key"),
    ],
)  # fmt: skip
def test_files_of_keys_are_read_strictly(rows: list[str], head: str, said: str) -> None:
    assert said in wrong(*rows, head=head)


def test_a_file_of_keys_is_text() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        owners.parse(b'schema = "\xff"', "k.toml")


def test_a_file_has_64_keys_at_most() -> None:
    keys = [base64.b64encode(signer.generate("ed25519").public).decode() for _ in range(65)]
    rows = [row(f'"n{number}"', key) for number, key in enumerate(keys)]
    assert len(ring(*rows[:64]).holders) == 64
    assert "1 to 64" in wrong(*rows)


@pytest.mark.parametrize(
    ("sha256", "why", "good"),
    [
        (f'"{"ab" * 32}"', '"lost"', True), (f'"{"AB" * 32}"', '""', True), (f'"{"ab" * 31}"', '"lost"', False),
        (f'"{"zz" * 32}"', '"lost"', False), ("5", '"lost"', False), (f'"{"ab" * 32}"', "5", False),
    ],
)  # fmt: skip
def test_a_withdrawal_has_a_digest_and_a_reason(sha256: str, why: str, good: bool) -> None:
    more = f"[[withdrawn]]\nsha256 = {sha256}\nwhy = {why}\n"
    if good:
        assert ring(row(), more).withdrawn == {"ab" * 32: why.strip('"') or "withdrawn"}
    else:
        assert "sha256 and why" in wrong(row(), more)


def test_a_threshold_is_one_or_what_is_said() -> None:
    assert [ring(*TWO, head=head).threshold for head in ("", "threshold = 1\n", "threshold = 2\n")] == [1, 1, 2]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("expires = 2026-11-01T00:00:00Z\n", "expired 2026-11-01T00:00:00Z"),
        ('withdrawn = 2026-11-01T00:00:00Z\nwhy = "lost"\n', "withdrawn 2026-11-01T00:00:00Z: lost"),
        ("expires = 2026-11-01T00:00:00Z\nwithdrawn = 2027-01-01T00:00:00Z\n", "expired 2026-11-01T00:00:00Z"),
        ("expires = 2027-01-01T00:00:00Z\nwithdrawn = 2026-11-01T00:00:00Z\n", "withdrawn 2026-11-01T00:00:00Z"),
    ],
)
def test_a_key_counts_until_its_end_and_not_at_it(more: str, why: str) -> None:
    (holder,) = ring(row(more=more)).holders
    assert (holder.until, holder.why) == (AT, why)
    assert holder.counts(AT - timedelta(seconds=1))
    assert not holder.counts(AT)
    (ever,) = ring(row(more='why = "a laptop"\n')).holders
    assert ever.until is None and ever.counts(AT) and ever.why == ": a laptop"


def counted(threshold: int, *names: str, at: datetime = AT, payload: bytes = b"payload") -> owners.Count:
    gone = row('"carol"', TEXT[2], "expires = 2026-10-01T00:00:00Z\n")
    digest = hashlib.sha256(b"withdrawn").hexdigest()
    found = ring(*TWO, gone, f'[[withdrawn]]\nsha256 = "{digest}"\nwhy = "bad"\n', head=f"threshold = {threshold}\n")
    return owners.count(found, payload, tuple(item for item in found.holders if item.name in names), at)


GONE = "does not count: carol (expired 2026-10-01T00:00:00Z)"


@pytest.mark.parametrize(
    ("threshold", "names", "enough", "said"),
    [
        (1, ("alice",), True, "signed by alice, 1 needed"),
        (2, ("alice",), False, "signed by alice, 2 needed; missing bob"),
        (2, ("alice", "bob"), True, "signed by alice, bob, 2 needed"),
        (1, (), False, "signed by no owner, 1 needed; missing alice, bob"),
        (1, ("carol",), False, f"signed by no owner, 1 needed; missing alice, bob; {GONE}"),
        (1, ("alice", "carol"), True, f"signed by alice, 1 needed; {GONE}"),
        (3, ("alice", "bob", "carol"), False, f"signed by alice, bob, 3 needed; {GONE}"),
    ],
)
def test_who_signed_who_does_not_count_and_who_is_missing(
    threshold: int, names: tuple[str, ...], enough: bool, said: str
) -> None:
    found = counted(threshold, *names)
    assert found.enough is enough
    assert str(found) == said


def test_what_was_withdrawn_is_never_enough() -> None:
    found = counted(1, "alice", "bob", payload=b"withdrawn")
    assert not found.enough
    assert str(found).startswith("withdrawn: bad; signed by alice, bob, 1 needed")


# what a rule is about


def rule(when: str = "", require: str = "") -> Rule:
    return parse(
        f'[[rule]]\nid = "r"\neffect = "accept"\nwhen = {{ {when} }}\nrequire = {{ {require} }}\n', "p.toml"
    ).rules[0]


def test_a_rule_names_what_its_conditions_are_about_or_what_is_inside_it() -> None:
    asked = rule('tee = "snp"', '"collateral.valid_until" = { not = "2020-01-01" }, "snp.policyx" = 1')
    for path, named in (
        ("tee", True), ("collateral", True), ("collateral.valid_until", True), ("collateral.valid", False),
        ("snp.policy", False), ("snp.policyx", True), ("snp", True), ("valid_until", False),
    ):  # fmt: skip
        assert asked.names(path) is named


@pytest.mark.parametrize(
    ("when", "admitted"),
    [
        ('tee = "nil"', {"nil"}),
        ('tee = ["nil", "snp"]', {"nil", "snp"}),
        ('tee = "snp"', {"snp"}),
        ('tee = { not = "snp" }', {"sev", "tdx"}),
        ("debug = false", {"snp", "sev", "tdx"}),
        ('tee = ["snp", "tdx"]', {"snp", "tdx"}),
    ],
)
def test_a_rule_admits_nil_only_by_its_name(when: str, admitted: set[str]) -> None:
    assert {name for name in ("nil", "snp", "sev", "tdx") if rule(when).admits(name)} == admitted


def test_every_condition_on_the_tee_must_hold() -> None:
    both = rule('tee = ["snp", "tdx"]', 'tee = ["tdx", "sev"]')
    assert [name for name in ("snp", "sev", "tdx") if both.admits(name)] == ["tdx"]


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ('"measurements.launch" = "abababab"', True), ('"measurements.launch" = ["abababab", "cdcdcdcd"]', True),
        ('"measurements.launch" = "!=abababab"', False), ('"measurements.launch" = ["abababab", "!=cdcdcdcd"]', False),
        ('"measurements.launch" = { not = "abababab" }', False), ('"measurements.launch" = ">=abababab"', False),
        ('"measurements.launch" = { by_generation = { genoa = "abababab" } }', True),
        ('"measurements.launch" = { by_generation = { genoa = "abababab", turin = "!=abababab" } }', False),
        ('"measurements.mrconfigid" = "abababab"', False), ('hardware_id = "abababab"', False),
        ('"measurements.mrconfigid" = "abababab", "measurements.launch" = "abababab"', True),
    ],
)  # fmt: skip
def test_what_runs_is_said_by_values_that_may(condition: str, says: bool) -> None:
    assert rule(condition).says_what_runs is says
    assert rule(require=condition).says_what_runs is says


# signed policies

RULES = '[[rule]]\nid = "r"\neffect = "accept"\nwhen = { tee = "snp" }\n'


def test_a_signed_policy_is_judged_now_unless_a_time_is_given(tmp_path: Path) -> None:
    path, keys, gone = (tmp_path / name for name in ("p.json", "keys.toml", "gone.toml"))
    path.write_bytes(signed.sign(parse(RULES, "p.toml"), SIGNERS[0]).unparse())
    head = 'schema = "fastness/keys/v1"\n'
    keys.write_text(head + row(), "utf-8")
    gone.write_text(head + row(more="expires = 2020-01-01T00:00:00Z\n"), "utf-8")
    assert load(str(path), keys).signed == ("alice",)
    assert load(str(path), "").signed == ()
    assert load(str(path), gone, at=datetime(2019, 1, 1, tzinfo=UTC)).signed == ("alice",)
    with pytest.raises(UsageError, match="not signed as its owners demand"):
        load(str(path), gone)


def test_a_signed_policy_is_text_in_canonical_form() -> None:
    for payload, said in ((b"\xff", "not UTF-8"), (RULES.encode(), "not in canonical form")):
        data = dsse.Envelope(signed.PAYLOAD, payload, (dsse.Signature("", b"x"),)).unparse()
        with pytest.raises(UsageError, match=said):
            opened(data, "p.json", None, AT)
