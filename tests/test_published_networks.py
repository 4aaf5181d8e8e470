"""The published findings on networks are those that the judges reach on the published runs."""

import json
import runpy
from pathlib import Path

import pandas as pd
import pytest

from bnlens.claims import Results, claims

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
STUDIES = json.loads((RESULTS / "networks_cifar10.json").read_text(encoding="utf-8"))["studies"]


@pytest.mark.parametrize("study", STUDIES)
def test_published_findings_follow_from_the_published_runs(study: str) -> None:
    jobs_of = runpy.run_path(str(ROOT / "docs" / "network_figures.py"))["jobs_of"]
    runs = pd.read_parquet(RESULTS / "networks_cifar10.parquet")
    jobs = jobs_of(runs[runs["study"] == study])
    for stored in STUDIES[study]["claims"]:
        finding = claims()[stored["id"]].judge(Results(jobs[name] for name in STUDIES[study]["jobs"][stored["id"]]))
        assert (finding.verdict, dict(finding.parts)) == (stored["verdict"], stored["parts"]), stored["id"]
        # the same arithmetic on the same numbers, but for the order of sums
        assert [finding.measured, finding.stderr] == pytest.approx(
            [stored["measured"], stored["stderr"]], rel=1e-9, nan_ok=True
        )
