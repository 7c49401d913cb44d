"""A tenant that launches a keep, goes as far as it is told, says so with the keep's id, and stands still.

python stalled_tenant.py URL STAGE POLICY ANCHORS     stages in order: launched, channel, hello, attested, half
"""

from __future__ import annotations

import asyncio
import sys
import time

from fastness.appraise import policy as policies
from fastness.collateral import anchors_file
from fastness.seal.challenger import client_channel, seal
from fastness.seal.frames import Type, frame
from fastness.seal.transport import Transport
from fastness.tenant import deliver
from fastness.tenant.remote import Host

STAGES = ("launched", "channel", "hello", "attested", "half")


async def main(url: str, stage: str, policy: str, anchors: str) -> None:
    def stand(here: str) -> None:
        if here == stage:
            print(keep, flush=True)
            time.sleep(1000)

    host = Host(url)
    keep = await host.launch(None)
    stand("launched")
    sock = await host.channel(keep)
    stand("channel")
    transport = Transport(sock, client_channel())
    if stage == "hello":
        transport.channel.handshake()
        await asyncio.get_running_loop().sock_sendall(sock, transport.channel.outgoing()[:40])
        stand("hello")
    attested = await deliver.challenge(
        transport, policies.load(policy), anchors_file.load([anchors]), stages=deliver.Stages()
    )
    stand("attested")
    sealed = frame(Type.RELEASE, seal(bytes(1 << 20), attested.statement.hpke_key, attested.info))
    transport.channel.send(sealed[: len(sealed) // 2])
    await asyncio.get_running_loop().sock_sendall(sock, transport.channel.outgoing())
    stand("half")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
