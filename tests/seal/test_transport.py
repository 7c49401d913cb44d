"""What carrying bytes costs that can be counted; what a peer may do is in ``tests/keep/test_hostile_peers.py``."""

from __future__ import annotations

import subprocess
import sys

STREAM = """
import asyncio, resource, socket
from cryptography.hazmat.primitives.asymmetric import ec
from fastness.keep.execution import READ
from fastness.seal.challenger import client_channel
from fastness.seal.channel import Channel, identity, server_context
from fastness.seal.frames import Type
from fastness.seal.transport import Transport

async def carry(mib):
    one, other = socket.socketpair()
    me = identity(ec.generate_private_key(ec.SECP256R1()))
    keep, tenant = Transport(one, Channel(server_context(me), server=True)), Transport(other, client_channel())
    await asyncio.gather(keep.handshake(), tenant.handshake())
    data, faults = bytes(READ), []
    async def send():
        for _ in range(mib * 2**20 // READ):
            await keep.send(Type.STDOUT, data)
    sending = asyncio.create_task(send())
    for _ in range(mib * 2**20 // READ):
        assert await tenant.receive(Type.STDOUT) == (Type.STDOUT, data)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    await sending
    half = len(faults) // 2
    print((faults[-1] - faults[half]) // (mib // 2))

asyncio.run(carry(32))
"""


def test_memory_is_used_again_for_the_next_bytes() -> None:
    """Every buffer was mapped anew and cleared by the kernel page by page: 130 faults for each MiB."""
    done = subprocess.run([sys.executable, "-c", STREAM], capture_output=True, check=True)
    assert int(done.stdout) < 16
