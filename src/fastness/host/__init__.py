"""The untrusted side: launches keeps, carries bytes, counts them, cleans up. Holds no key or plaintext of anybody.

It never imports ``seal`` or ``appraise``: a host has nothing to bind and nothing to decide.
"""
