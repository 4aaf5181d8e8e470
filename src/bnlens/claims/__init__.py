"""The register of claims: a statement, its computation, what agreement means, and a verdict.

`claims` lists them, `reproduce` runs them; `bnlens.claims.register` says how to add one.
"""

from __future__ import annotations

from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._data import claim_data, run_data
from bnlens.claims.register import claims, get_claims
from bnlens.claims.runner import ClaimRun, Observer, Reproduction, reproduce

__all__ = [
    "Claim",
    "ClaimRun",
    "Finding",
    "Job",
    "Observer",
    "Reproduction",
    "Scale",
    "Setup",
    "Verdict",
    "claim_data",
    "claims",
    "get_claims",
    "reproduce",
    "run_data",
]
