"""What a keep's process is started with."""

from __future__ import annotations

import subprocess
import sys

from fastness.host.launch import spawn


def test_a_keeps_process_has_one_tls() -> None:
    begin = spawn._BOOT.partition("from fastness")[0]
    words = [begin + "import asyncio.sslproto; print('_ssl' in sys.modules)", spawn._PACKAGES]
    done = subprocess.run([sys.executable, "-I", "-c", *words], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
