"""Writes the table of fields at the end of docs/policy.md from the table the lint uses.

python tools/policy_doc.py            write it
python tools/policy_doc.py --check    fail when it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from fastness.appraise import fields  # noqa: E402

PAGE = ROOT / "docs" / "policy.md"
MARK = "do not edit below -->\n"
TITLES = {
    "all": "Every TEE",
    "cpu": "Processor (snp, sev, sgx, tdx)",
    "dcap": "sgx and tdx",
    "collateral": "Collateral",
}
KINDS = {"bool": "true, false", "hex": "hexadecimal", "mask": "0x… text", "platform": "as named", "any": "as named"}


def table() -> str:
    """The section, in the order of the file."""
    lines: list[str] = []
    section: tuple[str, ...] = ()
    names = {tees: name for name, tees in fields.SHARED.items()}
    for row in fields.table():
        if row.tees != section:
            section = row.tees
            title = TITLES[names[section]] if section in names else section[0]
            lines += ["", f"### {title}", "", "| field | kind | says |", "|---|---|---|"]
        lines.append(f"| `{row.path}` | {KINDS.get(row.kind, row.kind)} | {row.says} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page."""
    head, mark, _ = PAGE.read_text().partition(MARK)
    return head + mark + table()


def main() -> int:
    """Writes or checks; the exit code."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text() != wanted:
            print("docs/policy.md is out of date: run tools/policy_doc.py")
            return 1
        return 0
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
