"""What runs inside the TEE. An island: it knows ``errors``, ``wire``, ``seal``, ``workload``,
``sandbox``; never who judges it.

Flow of one connection::

    socket ─ Transport ─ challenge → attest (device) → evidence
                       ─ release  → unseal → measure → compile → run ─ stdout, stderr, end
                       ─ attach   → owner token → logs, stop
"""
