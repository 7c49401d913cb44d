"""Made by tools/tables.py from anchors.toml, where each row says its source: edit that."""
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from typing import Any

ROWS: tuple[dict[str, Any], ...] = (
    {'tee': 'snp', 'name': 'AMD ARK-Milan', 'spki': '9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9', 'line': 'milan', 'source': 'AMD KDS /vcek/v1/Milan/cert_chain; RSA-4096, 2020-10-22 to 2045-10-22'},
    {'tee': 'snp', 'name': 'AMD ARK-Genoa', 'spki': '429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831', 'line': 'genoa', 'source': 'AMD KDS /vcek/v1/Genoa/cert_chain; RSA-4096, 2022-01-26 to 2047-01-26'},
    {'tee': 'snp', 'name': 'AMD ARK-Turin', 'spki': '4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08', 'line': 'turin', 'source': 'AMD KDS /vcek/v1/Turin/cert_chain; RSA-4096, 2023-05-15 to 2048-05-15'},
    {'tee': 'sgx', 'name': 'Intel SGX Root CA', 'spki': 'a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e', 'source': 'certificates.trustedservices.intel.com IntelSGXRootCA.der; P-256, to 2049-12-31'},
    {'tee': 'tdx', 'name': 'Intel SGX Root CA', 'spki': 'a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e', 'source': 'certificates.trustedservices.intel.com IntelSGXRootCA.der; P-256, to 2049-12-31'},
    {'tee': 'nitro', 'name': 'AWS Nitro Enclaves root G1', 'spki': 'f2caf5ecc6190b4a8399b78bc58a2bbcd0382375db8a1bfd78a82743874fd225', 'source': 'aws-nitro-enclaves AWS_NitroEnclaves_Root-G1.zip; P-384, 2019-10-28 to 2049-10-28'},
    {'tee': 'nvgpu', 'name': 'NVIDIA Device Identity CA', 'spki': 'a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4', 'line': 'device', 'source': 'NVIDIA nvtrust device root; P-384, 2021-11-05 to 9999-12-31'},
    {'tee': 'nvgpu', 'name': 'NVIDIA CoRIM signing root', 'spki': 'dec1dc316477aa851eebdf51327ae9f864bc8d89254657ed1e7eb9168af1e1a3', 'line': 'rim', 'source': 'NVIDIA nvtrust RIM root; P-384, 2023-03-16 to 2053'},
    {'tee': 'tpm', 'name': 'GCP EK/AK CA Root', 'spki': '56a613f57126a385dd6949294e93b0b566f96ab0573be0c2368e6f5ca779831f', 'line': 'gcp', 'source': 'privateca-content googleapis, EK/AK CA Root; RSA-4096, 2022-07-08 to 2122'},
    {'tee': 'tpm', 'name': 'GCP tpm_ek_v1_cloud_host_root', 'spki': 'f23057f4f97d1d90e4cae0ce91d5a0fc99069f0a1bc147021dca33b1e9c4d0d9', 'line': 'gcp', 'source': 'Google Cloud pki tpm_ek_root_1; 2018'},
    {'tee': 'sev', 'name': 'AMD SEV ARK Naples', 'spki': '3a04f8f1347de206c9206a81148ba4ef0a233b245d43a15dd82de043bb3e4f69', 'line': 'naples', 'source': 'AMD SEV ark_naples.cert, key id 1bb987c359494606b174945601c9ea5b'},
    {'tee': 'sev', 'name': 'AMD SEV ARK Rome', 'spki': '7447ffa21e2b938bfade89f5e9066c00a328813bfc43685605cceabd18da6fde', 'line': 'rome', 'source': 'AMD SEV ark_rome.cert, key id e6002122fb58419399d15fee7b131351'},
    {'tee': 'sev', 'name': 'AMD SEV ARK Milan', 'spki': '9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9', 'line': 'milan', 'source': 'AMD SEV format, key id 94c38e4177d0479292a7ae671d083fb6, the key of ARK-Milan'},
    {'tee': 'sev', 'name': 'AMD SEV ARK Genoa', 'spki': '429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831', 'line': 'genoa', 'source': 'AMD SEV format, key id 9f9d4a8fe761456599f6946c4c010f3a, the key of ARK-Genoa'},
    {'tee': 'sev', 'name': 'AMD SEV ARK Turin', 'spki': '4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08', 'line': 'turin', 'source': 'AMD SEV format, key id d05c3a8bde484904b49552422ceb3942, the key of ARK-Turin'},
)
