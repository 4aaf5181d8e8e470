"""What makes a claim compute anew: the formulas behind its jobs, and nothing that words, draws or announces a number."""

import ast
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bnlens
from bnlens.claims import claims
from bnlens.runs import code_version
from bnlens.runs._source import Source
from bnlens.runs.earlier import entries

ROOT = Path(bnlens.__file__).parent
SHOWN = {"claims", "cli", "labs", "render", "runs", "web"}
SHOWN |= {
    "_arguments.py",
    "_devices.py",
    "_files.py",
    "_kinds.py",
    "_names.py",
    "_plain.py",
    "_progress.py",
    "errors.py",
}


@functools.cache
def functions() -> dict[str, set[Callable[..., Any]]]:
    """The functions of each claim's jobs, at both scales that need no data."""
    return {claim.id: {job.function for job in claim.plan("quick")} for claim in claims().values()}


@functools.cache
def installed() -> dict[str, str]:
    """The code version of each claim as it stands."""
    return versions(ROOT)


def versions(root: Path) -> dict[str, str]:
    """The code version of each claim: that of all its functions."""
    source = Source(root)
    return {
        claim_id: ", ".join(sorted(code_version(function, source) for function in found))
        for claim_id, found in functions().items()
    }


class _Reworded(ast.NodeTransformer):
    """Changes every text and every number that is not a docstring's."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, str):
            return ast.Constant(f"{node.value} (reworded)")
        return ast.Constant(node.value + 1) if type(node.value) in (int, float) else node


class _Redocumented(ast.NodeTransformer):
    """Changes every docstring."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Expr(ast.Constant("Another docstring."))
        return node


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source, for one test to change and to leave as it was."""
    root = tmp_path_factory.mktemp("source") / "bnlens"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_no_title_caption_figure_docstring_bar_or_page_recomputes_a_claim(copy: Path, tmp_path: Path) -> None:
    before = installed()
    assert len(before) == len(claims())
    root = tmp_path / "bnlens"
    shutil.copytree(copy, root)
    reworded = 0
    for path in root.rglob("*.py"):
        tree = _Redocumented().visit(ast.parse(path.read_text(encoding="utf-8")))
        if path.relative_to(root).parts[0] in SHOWN:
            tree = _Reworded().visit(tree)
            reworded += 1
        path.write_text(f"# a comment\n{ast.unparse(ast.fix_missing_locations(tree))}\n", encoding="utf-8")
    assert reworded > 60
    assert versions(root) == before


@pytest.mark.parametrize(
    ("file", "old", "new", "recomputed"),
    [
        ("theory/units.py", "np.logaddexp(0.0, y)", "np.logaddexp(0.1, y)", {"D1", "D2", "D3", "D4", "D6"}),
        ("nn/_gamma_decay.py", "penalty = penalty + (", "penalty = penalty + 2 * (", {"E1", "E8", "N3"}),
        (
            "simulate/_students.py",
            "return self._rate *",
            "return 2 * self._rate *",
            {"G3a", "L1", "L2", "L3a", "L3b", "L4"},
        ),
    ],
)
def test_a_formula_recomputes_exactly_the_claims_that_use_it(
    copy: Path, file: str, old: str, new: str, recomputed: set[str]
) -> None:
    path = copy / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    try:
        before, after = installed(), versions(copy)
    finally:
        path.write_text(text, encoding="utf-8")
    assert {claim_id for claim_id in before if before[claim_id] != after[claim_id]} == recomputed


def test_every_line_of_the_table_of_earlier_results_is_of_the_present_code() -> None:
    stale = [entry.function for entry in entries() if not entry.counts]
    assert not stale, f"delete these lines of earlier.json, which no longer find anything: {stale}"
