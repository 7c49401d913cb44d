"""What SGX and TDX share (Intel DCAP): quote container, PCK certificates, signed collateral, TCB evaluation.

``sgx`` and ``tdx`` stand thinly on top; nothing here is a TEE of its own, and nothing here imports them.
"""
