"""Judges choose results by configurations: names of jobs and captions of tables tell them nothing."""

import ast
import functools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_claims import claim as toy

import bnlens.claims
from bnlens.claims import Claim, Finding, Results, claims, get_claims
from bnlens.claims.runner import judge
from bnlens.runs import Done, Record

# Entries of configurations that are more at scale full, as a small computation has them; "size" of L may grow, too.
SMALL = {"samples": 26_000, "batches": 400, "dimension": 64, "runs": 4}
SIMULATED = [name for name in claims() if name[0] in "DGL" and name not in ("D5", "D8")]
JOINED = {"L1": 2, "D1": 20, "L3a": 2, "L3b": 2, "L4": 1}  # jobs without a row of their own
JUDGES = sorted(
    path for path in Path(bnlens.claims.__file__).parent.glob("*.py") if "_" in path.stem and path.stem != "__init__"
)


@functools.cache
def small(claim_id: str) -> tuple[Record, ...]:
    """The jobs of a claim, computed with few samples or small sizes, under the configurations of scale quick."""
    (claim,) = get_claims([claim_id])
    records = []
    for job in claim.plan():
        less = {name: value for name, value in {**SMALL, "size": 40}.items() if name in job.config}
        result = json.loads(json.dumps(job.function(**{**job.config, **less}), allow_nan=False))
        about = (job.name, claim_id, job.name, job.function_name, job.config)
        records.append(Record(*about, code="", status="done", seconds=0.0, started="", finished="", result=result))
    return tuple(records)


def captions(source: str) -> Iterator[str]:
    """What a source reads out of mappings by words that are no names of the language, as captions of tables are."""
    for node in ast.walk(ast.parse(source)):
        keys: list[ast.expr] = []
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and ast.unparse(node.value) != "Literal":
            keys = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
            keys = node.args[:1]
        if any(map(is_caption, keys)):
            yield ast.unparse(node)


def is_caption(key: ast.expr) -> bool:
    if isinstance(key, ast.JoinedStr):
        return any(isinstance(part, ast.Constant) and set(" ,/") & set(str(part.value)) for part in key.values)
    return isinstance(key, ast.Constant) and isinstance(key.value, str) and not key.value.isidentifier()


@pytest.mark.parametrize(
    "read", ["row['train loss']", "row.get('law / gap', 0)", "rows['ridge-0.1', 2]", "row[f'{name}, {what} stderr']"]
)
def test_a_caption_that_is_read_is_seen(read: str) -> None:
    assert list(captions(f"print({read})")) == [read]


def test_entries_of_results_and_captions_that_are_written_pass() -> None:
    allowed = ['result["train_loss"]', 'result[f"{noise}-M{M}"]', 'row["train loss"] = 1', 'Literal["a b"]', "x[0, 1]"]
    assert list(captions("\n".join(allowed))) == []


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: path.stem)
def test_no_judge_reads_captions_or_parses_names(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert list(captions(source)) == []
    imported = [
        alias.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for alias in node.names
    ]
    assert "re" not in imported


def test_a_judge_is_told_configurations_and_results_alone() -> None:
    told: list[Results] = []

    def note(results: Results) -> Any:
        told.append(results)
        return Finding("holds", 1.0, 1.0, 0.1, "It is one.")

    claim = replace(toy("T1", lambda setup: []), judge=note, figure=note)
    records = small("G1")
    judge(claim, [Done(record) for record in records])
    assert [type(results) for results in told] == [Results, Results]
    for results in told:
        assert [tuple(job) for job in results] == [(record.config, record.result) for record in records]


@pytest.mark.parametrize("claim", claims().values(), ids=lambda claim: claim.id)
def test_configurations_are_data_and_tell_jobs_apart(claim: Claim) -> None:
    jobs = claim.plan()
    configs = [json.dumps(dict(job.config), sort_keys=True) for job in jobs]
    assert len(set(configs)) == len(configs) == len({job.name for job in jobs})
    assert [json.loads(config) for config in configs] == [job.config for job in jobs]


@pytest.mark.parametrize("claim_id", SIMULATED)
def test_scale_full_is_the_same_with_more(claim_id: str) -> None:
    (claim,) = get_claims([claim_id])
    assert claim.core

    def rest(config: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in config.items() if name not in (*SMALL, "size")}

    for quick, full in zip(claim.plan("quick"), claim.plan("full"), strict=True):
        assert rest(quick.config) == rest(full.config)
        more = [name for name in SMALL if name in quick.config]
        assert all(full.config[name] > quick.config[name] for name in more)
        assert full.config.get("size", 0) >= quick.config.get("size", 0)
        assert full.cost > quick.cost or not more


@pytest.mark.parametrize("claim_id", SIMULATED)
def test_a_small_computation_gives_finite_numbers_and_a_figure(claim_id: str) -> None:
    (claim,) = get_claims([claim_id])
    records = small(claim_id)
    run = judge(claim, [Done(record) for record in records])
    assert run.errors == ()
    finding, figure = run.finding, run.figure
    assert finding is not None
    assert figure is not None
    assert all(map(math.isfinite, (finding.measured, finding.predicted, finding.stderr, finding.ratio)))
    assert 0 < finding.stderr < 0.5 * abs(finding.measured)
    assert len(finding.rows) >= len(records) - JOINED.get(claim_id, 0)
    assert all(math.isfinite(value) for row in finding.rows for value in row.values() if isinstance(value, float))
    assert figure.layout.yaxis.title.text
    assert any(trace.error_y.array is not None for trace in figure.data)
    for trace in figure.data:
        assert trace.name
        assert len(trace.y) >= (30 if trace.mode == "lines" else 2)  # a curve is none of a few points joined
        assert all(value is None or math.isfinite(value) for value in trace.y)


@pytest.mark.parametrize("claim_id", SIMULATED)
def test_names_of_jobs_change_nothing(claim_id: str) -> None:
    (claim,) = get_claims([claim_id])
    records = small(claim_id)
    names = [record.job for record in reversed(records)]
    renamed = [replace(record, job=name) for record, name in zip(records, names, strict=True)]
    found, again = (judge(claim, [Done(record) for record in chosen]) for chosen in (records, renamed))
    assert found.finding == again.finding
    assert found.figure is not None
    assert again.figure is not None
    assert found.figure.to_json() == again.figure.to_json()
