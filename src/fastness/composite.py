"""What pieces of genuine evidence say together: GPUs bound to a CPU, the cloud that one layer names for all, debug of a
vTPM that runs inside a confidential VM.

A report of a GPU does not say which machine it is in, and a guest without a GPU looks like one whose GPU was left out.
So devices are counted only where their evidence rests on the CPU's (:mod:`fastness.tee.nvgpu.composite`), each once,
and the count is a claim of every layer; where none is bound there is no such claim, and no rule on it holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastness.claims.genuine import Genuine
from fastness.claims.model import Claims

Layer = tuple[Genuine[Any], Claims]


def of(layers: Iterable[Layer], devices: Iterable[Layer]) -> tuple[Claims, ...]:
    """The claims of ``layers`` with what they and the ``devices`` among the evidence say together."""
    known = tuple(layers)
    whole = tuple(genuine for genuine, claims in known if claims.tee != "nvgpu")
    gpus = sorted(
        {claims.hardware_id for genuine, claims in devices if claims.hardware_id and _rests(genuine, claims, whole)}
    )
    together: dict[str, Any] = {"gpus": len(gpus), "gpu_ids": gpus} if gpus else {}
    clouds = {claims.cloud for _, claims in known if claims.cloud}
    cloud = clouds.pop() if len(clouds) == 1 else None
    return tuple(
        claims._replace(cloud=claims.cloud or cloud, composite=together, debug=_debug(claims, known[index + 1 :]))
        for index, (_, claims) in enumerate(known)
    )


def _debug(claims: Claims, around: tuple[Layer, ...]) -> bool | None:
    """A vTPM has no debug mode of its own: it is in debug when the machine that its hardware report is of is."""
    if claims.debug is not None or claims.extra.get("ak_trust") != "hardware-report":
        return claims.debug
    said = [item.debug for _, item in around]
    return True if True in said else (False if said and None not in said else None)


def _rests(device: Genuine[Any], claims: Claims, whole: tuple[Genuine[Any], ...]) -> bool:
    """Whether a GPU's evidence rests on that of one of the CPUs. A switch is no GPU."""
    bound = any(inner is cpu for inner in device.within for cpu in whole)
    return claims.tee == "nvgpu" and claims.extra.get("kind") == "gpu" and bound
