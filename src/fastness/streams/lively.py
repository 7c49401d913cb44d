"""TCP connections that notice when the other side went without a word: its machine lost power, its network is gone."""

from __future__ import annotations

import socket

ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""After two minutes without an answer it is gone (tcp(7))."""


def lively(sock: socket.socket) -> None:
    """Has ``sock``, of TCP, probe a silent peer, and send small messages at once.

    Raises:
        OSError: the connection is gone already.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in ALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
