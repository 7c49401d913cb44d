"""Bytes between file descriptors: waiting for one, and many streams over one. Knows nothing of what is carried."""
