"""The register of claims: a statement, its computation, what agreement means, and a verdict.

`claims` lists them, `reproduce` runs them; `bnlens.claims.register` says how to add one.
"""

from __future__ import annotations

from bnlens.claims._claim import Claim, Finding, Scale, Setup, Verdict
from bnlens.claims._data import TONES, claim_data, run_data, seeds_text
from bnlens.claims._results import Results
from bnlens.claims._run import ClaimRun, Reproduction
from bnlens.claims._stored import StoredRun, stored_run
from bnlens.claims.register import claims, get_claims
from bnlens.claims.runner import reproduce

__all__ = [
    "TONES",
    "Claim",
    "ClaimRun",
    "Finding",
    "Reproduction",
    "Results",
    "Scale",
    "Setup",
    "StoredRun",
    "Verdict",
    "claim_data",
    "claims",
    "get_claims",
    "reproduce",
    "run_data",
    "seeds_text",
    "stored_run",
]
