"""Signatures, chains and revocation: what every verifier needs of RFC 5280, with pinned roots and an injected clock.

Order of trust: an anchor is the SHA-256 of a root's SubjectPublicKeyInfo, named in data. A chain is built from
certificates in any order, from the leaf up to a key
that an anchor pins. Nothing here reads a clock, a file or a network.
"""
