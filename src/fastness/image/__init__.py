"""The keep image: one kernel, one initramfs, one command line, made of pinned inputs and of nothing else.

``lock`` names the inputs by SHA-256, ``fetch`` gets them through the ordinary clients into a cache, ``contents`` picks
the files of the root, ``build`` writes the artefacts, ``store`` keeps them under the digest of their manifest,
``reproduce`` builds them again and compares. Runs as any user, without a container, and executes one program of the
image: its own Python, which compiles the byte code.
"""
