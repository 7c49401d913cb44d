"""The keep image: built so that anyone can build it again, and what each TEE will report of it."""
