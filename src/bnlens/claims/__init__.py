"""The register of claims: a statement, its computation, what agreement means, and a verdict."""

from __future__ import annotations

from bnlens.claims._claim import Claim, Finding, Job, Scale, Verdict

__all__ = ["Claim", "Finding", "Job", "Scale", "Verdict"]
