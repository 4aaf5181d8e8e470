"""The register of claims: a statement, its computation, what agreement means, and a verdict.

`claims` lists them, `reproduce` runs them; `bnlens.claims.register` says how to add one.
"""

from __future__ import annotations

from bnlens.claims._claim import Claim, Finding, Job, Scale, Setup, Verdict
from bnlens.claims._content import code_version
from bnlens.claims._data import TONES, claim_data, run_data, seeds_text
from bnlens.claims._stored import StoredRun, stored_run
from bnlens.claims._table import records_frame
from bnlens.claims.register import claims, get_claims
from bnlens.claims.runner import ClaimRun, Observer, Reproduction, reproduce
from bnlens.claims.store import Record, read_records, remove_records

__all__ = [
    "TONES",
    "Claim",
    "ClaimRun",
    "Finding",
    "Job",
    "Observer",
    "Record",
    "Reproduction",
    "Scale",
    "Setup",
    "StoredRun",
    "Verdict",
    "claim_data",
    "claims",
    "code_version",
    "get_claims",
    "read_records",
    "records_frame",
    "remove_records",
    "reproduce",
    "run_data",
    "seeds_text",
    "stored_run",
]
