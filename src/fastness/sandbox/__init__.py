"""Confines the calling process, without privileges, with what the kernel offers; and tells what it offers."""
