"""Claims of genuine CCA tokens. No processor is claimed: the token has an implementation id and no model.

Rules on a generation cannot be told here and refuse; a rule on ``cca.implementation_id`` can.
"""

from __future__ import annotations

from typing import Any

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims
from fastness.tee.cca import layout
from fastness.tee.cca.evidence import Evidence
from fastness.tee.cca.verify import is_secured

_NOT_CHECKED = (
    "the processor: a CCA token names no vendor or model, only an implementation id",
    "revocation of platform attestation keys: there is no list of them; take a withdrawn key out of the anchors",
)
_SPANS = {
    "realm.rim": "measurements.rim",
    **{f"realm.rem[{index}]": f"measurements.rem{index}" for index in range(layout.REMS)},
    "realm.challenge": "report_data",
    "realm.personalisation": "cca.personalisation",
    "platform.instance_id": "hardware_id",
    "platform.implementation_id": "cca.implementation_id",
    "platform.lifecycle": "debug",
    "platform.config": "cca.platform_config",
    "platform.profile": "cca.profile",
}


def claims(genuine: Genuine[Evidence]) -> Claims:
    """The normalised claims: ``report_data`` is the realm's challenge, ``hardware_id`` the instance id."""
    evidence = genuine.evidence
    realm = evidence.realm
    registers = {f"rem{index}": value.hex() for index, value in enumerate(realm.rem)}
    return Claims(
        tee="cca",
        debug=not is_secured(evidence),
        simulated=genuine.simulated,
        measurements={"rim": realm.rim.hex(), **registers},
        report_data=realm.challenge.hex(),
        hardware_id=evidence.platform.instance_id.hex(),
        extra=_extra(evidence),
        not_checked=_NOT_CHECKED,
        spans={_SPANS[name]: span for name, span in evidence.spans.items() if name in _SPANS},
    )


def _extra(evidence: Evidence) -> dict[str, Any]:
    platform, realm = evidence.platform, evidence.realm
    extra: dict[str, Any] = {
        "profile": platform.profile,
        "realm_profile": realm.profile,
        "implementation_id": platform.implementation_id.hex(),
        "instance_id": platform.instance_id.hex(),
        "lifecycle": {"name": layout.LIFECYCLES[platform.lifecycle >> 8], "number": platform.lifecycle},
        "platform_config": platform.config.hex(),
        "hash_algorithm": platform.hash_algorithm,
        "verification_service": platform.service,
        "client_id": platform.client_id,
        "manufacturing_config": None if platform.manufacturing is None else platform.manufacturing.hex(),
        "sw_components": [_flat(item, platform.hash_algorithm) for item in platform.components],
        "personalisation": realm.personalisation.hex(),
        "realm_hash_algorithm": realm.hash_algorithm,
        "realm_key": layout.CURVES[realm.curve][0],
        "realm_instance_id": None if realm.instance_id is None else realm.instance_id.hex(),
        "mec_policy": None if realm.mec_policy is None else layout.MEC_POLICIES[realm.mec_policy],
        "lfa_policy": None if realm.lfa_policy is None else ("disallow", "allow")[realm.lfa_policy],
        "devices_hash": None if realm.devices_hash is None else realm.devices_hash.hex(),
    }
    unknown = [*platform.unknown, *realm.unknown]
    if unknown:
        extra["unknown_claims"] = unknown
    return {name: value for name, value in extra.items() if value is not None}


def _flat(component: Any, default: str) -> dict[str, Any]:
    """One software component with text for bytes; its hash algorithm is the token's where it names none."""
    flat: dict[str, Any] = {"hash_algorithm": default}
    for name, value in component.items():
        if isinstance(value, list):
            flat[name] = [item.hex() for item in value]
        else:
            flat[name] = value.hex() if isinstance(value, bytes) else value
    return flat
