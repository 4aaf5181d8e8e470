"""The register of claims: a statement, its computation, what agreement means, and a verdict.

`claims` lists them, `reproduce` runs them; `bnlens.claims.register` says how to add one.
"""

from __future__ import annotations

from bnlens.claims._claim import Claim, Finding, PaperStatement, Scale, Setup, Verdict
from bnlens.claims._data import TONES, claim_data, paper_text, parts_text, run_data, seeds_text
from bnlens.claims._paper import Known
from bnlens.claims._results import Results
from bnlens.claims._run import ClaimRun, Reproduction
from bnlens.claims._stored import StoredRun, stored_run
from bnlens.claims.register import claims, get_claims, named_claims
from bnlens.claims.runner import reproduce

__all__ = [
    "TONES",
    "Claim",
    "ClaimRun",
    "Finding",
    "Known",
    "PaperStatement",
    "Reproduction",
    "Results",
    "Scale",
    "Setup",
    "StoredRun",
    "Verdict",
    "claim_data",
    "claims",
    "get_claims",
    "named_claims",
    "paper_text",
    "parts_text",
    "reproduce",
    "run_data",
    "seeds_text",
    "stored_run",
]
