"""Claims and a policy in, a verdict out. A refusal is a value that explains itself."""
