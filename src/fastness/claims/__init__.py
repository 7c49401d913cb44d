"""What a verifier may say, in one shape for every TEE. No TEE is named here."""
