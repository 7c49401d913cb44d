"""Forged evidence under fake vendor roots, for tests and for who wants to see a refusal: ``python -m fastness.forge``.

A forge is a module with ``make(spec)`` and, in the words at its head, every key a spec may have.
"""
