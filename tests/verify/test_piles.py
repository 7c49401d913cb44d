"""Collections of evidence: each folder that holds some is judged alone, with what is shared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.collateral.gather import MAX_FOLDERS
from fastness.collateral.piles import Pile, piles
from fastness.forge import snp
from fastness.wire import pem


def lay(folder: Path, **spec: object) -> tuple[Path, Path]:
    """A report, and apart from it the certificates it needs."""
    forged = snp.make({"generation": "turin", **spec})
    folder.mkdir(parents=True, exist_ok=True)
    report, chain = folder / "report", folder / "chain.pem"
    report.write_bytes(forged.evidence)
    chain.write_bytes(pem.armour("CERTIFICATE", [item.raw for item in forged.collateral.certificates]))
    return report, chain


def test_each_folder_with_evidence_is_a_pile_of_its_own(tmp_path: Path) -> None:
    one, two = lay(tmp_path / "all" / "a"), lay(tmp_path / "all" / "b")
    found = [(set(pile.own), pile.shared) for pile in piles([str(tmp_path / "all")])]
    assert found == [(set(map(str, one)), ()), (set(map(str, two)), ())]


def test_what_lies_above_and_folders_without_evidence_are_shared(tmp_path: Path) -> None:
    report, chain = lay(tmp_path / "all" / "deep" / "a")
    certificates = tmp_path / "all" / "certificates"
    certificates.mkdir()
    chain.rename(certificates / "chain.pem")
    (tmp_path / "all" / "list.crl").write_bytes(b"what lies above")
    (pile,) = piles([str(tmp_path / "all")])
    shared = (str(tmp_path / "all" / "list.crl"), str(certificates))
    assert pile == Pile((str(report),), shared, str(tmp_path / "all" / "deep" / "a"))


def test_certificates_below_the_evidence_belong_to_it(tmp_path: Path) -> None:
    report, chain = lay(tmp_path / "a")
    (tmp_path / "a" / "certificates").mkdir()
    chain.rename(tmp_path / "a" / "certificates" / "chain.pem")
    (pile,) = piles([str(tmp_path / "a")])
    assert pile == Pile((str(report),), (str(tmp_path / "a" / "certificates"),), str(tmp_path / "a"))


def test_files_named_one_by_one_are_one_pile_and_shared_by_folders(tmp_path: Path) -> None:
    named = tuple(map(str, lay(tmp_path / "named")))
    own = lay(tmp_path / "folder")
    first, second = piles([*named, str(tmp_path / "folder")])
    assert first == Pile(named)
    assert (set(second.own), second.shared) == (set(map(str, own)), named)


def test_a_certificate_of_one_folder_speaks_for_no_report_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastness.cli.main import main

    lay(tmp_path / "all" / "whole")
    _, chain = lay(tmp_path / "all" / "bare")
    chain.unlink()
    (tmp_path / "root.der").write_bytes(snp.vendor("turin")[0].value.raw)
    words = ["policy", "try", "development", str(tmp_path / "all"), "--anchors", str(tmp_path / "root.der")]
    assert main([*words, "--at", "2026-06-01"]) == 1
    rows = {Path(row.split()[2]).parent.name: row.split()[0] for row in capsys.readouterr().out.splitlines()[1:]}
    assert rows == {"whole": "accept", "bare": "refuse"}


def test_a_folder_without_evidence_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastness.cli.main import main

    (tmp_path / "README").write_text("words")
    assert list(piles([str(tmp_path)])) == [Pile((), place=str(tmp_path))]
    assert main(["policy", "try", "strict", str(tmp_path)]) == 2
    assert "no evidence was found" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_is_a_pile_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = lay(tmp_path / "a"), tmp_path / "b"
    bad.mkdir()
    listed = Path.iterdir

    def refuse(self: Path) -> Iterator[Path]:
        if self == bad:
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    first, second = piles([str(tmp_path)])
    assert (set(first.own), first.problem) == (set(map(str, good)), None)
    assert (second.name, str(second.problem)) == (str(bad), "cannot be read: permission denied")


def test_folders_nested_too_deep_are_said_not_passed_over(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*map(str, range(MAX_FOLDERS + 1)))
    lay(deepest)
    (pile,) = piles([str(tmp_path)])
    assert (pile.name, str(pile.problem)) == (str(deepest.parent), "folders nested more than 8 deep")


def test_each_file_is_read_once_to_walk_and_once_to_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastness.cli.main import main
    from fastness.collateral import gather

    for name in ("a", "b/c/d"):
        report, chain = lay(tmp_path / name)
        chain.rename(chain.with_name("zz"))  # after the evidence: the walk need not read it
    seen: list[str] = []
    read = gather._read
    monkeypatch.setattr(gather, "_read", lambda path: (seen.append(Path(path).name), read(path))[1])
    main(["policy", "try", "development", str(tmp_path)])
    assert Counter(seen) == {report.name: 4, "zz": 2}
