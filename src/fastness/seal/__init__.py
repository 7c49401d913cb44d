"""Keys bound to evidence: what a keep and its challenger share.

``binding`` says what the evidence must speak for, ``channel`` is TLS 1.3 without input or output, ``frames`` and
``messages`` are the keep protocol's layouts, ``release`` seals to the attested key, ``log`` is the append-only
measurement log, ``transport`` drives a channel over an asyncio socket. Specification:
``docs/spec/keep-protocol-v1.md``. ``challenger`` is the other end of it all, and no part of a keep.
"""
