"""The claims that a lab shows: for each, the lab and the setting of its knobs that is the claim's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnlens.web.labs.lab import Lab

__all__ = ["claims_of", "lab_link"]

_PAPERS_UNIT: Mapping[str, Any] = {"unit": "softplus_glm", "gamma": 1.2, "beta": 0.1, "batch_size": 64}
_SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "D1": ("gap", _PAPERS_UNIT),
    "D2": ("gap", {**_PAPERS_UNIT, "show": "gap"}),
    "L1": ("dynamics", {"unit": "relu"}),
    "L2": (
        "dynamics",
        {"system": "gamma-decay", "batch_size": 32, "label_noise": 0.0, "gamma": 0.9552, "overlap": 1.0},
    ),
    "L3a": ("rates", {}),
    "L3b": ("rates", {}),
    "L4": ("rates", {"label_noise": 0.25}),
    "G1": ("generalization", {"estimator": "ridge"}),
    "G2": ("generalization", {"estimator": "gamma-decay"}),
    "G3a": ("generalization", {"batch_size": 32}),
    "G3b": ("generalization", {}),
    "G4": ("generalization", {"estimator": "relu"}),
}


def lab_link(claim: str, labs: Mapping[str, Lab]) -> tuple[str, str] | None:
    """Return title and address of the lab at a claim's setting; None for a claim without a lab."""
    if claim not in _SETTINGS:
        return None
    lab, knobs = _SETTINGS[claim]
    found = labs[lab]
    return found.title, found.path(found.settle({**found.defaults, **knobs}))


def claims_of(lab: str) -> list[str]:
    """Return the ids of the claims that a lab shows."""
    return [claim for claim, (shown, _) in _SETTINGS.items() if shown == lab]
