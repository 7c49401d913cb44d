"""B1 to B42 each have a test of their own, and the page that lists them is current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_number_has_a_row_and_a_test_and_the_page_is_current() -> None:
    tool = str(ROOT / "tools" / "defects_doc.py")
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
