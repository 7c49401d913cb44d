"""Bytes ⇄ values, and nothing else: no cryptography, no policy, no input or output."""
