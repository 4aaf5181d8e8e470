from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnlens.claims import Job, _content


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package laid out like bnlens, and a module beside it that uses it."""
    root = tmp_path / "bnlens"
    for name, text in {
        "__init__.py": "",
        "theory/__init__.py": "from bnlens.theory.gap import gap\n",
        "theory/gap.py": "def gap():\n    '''Docs.'''\n    return 1  # one\n",
        "theory/noise.py": "noise = 1\n",
        "measure/__init__.py": "from ._sums import total\n",
        "measure/_sums.py": "from bnlens.render import page\n\ndef total():\n    from ..moments import mean\n",
        "moments/__init__.py": "mean = 1\n",
        "render/__init__.py": "page = 1\n",
        "claims/__init__.py": "",
        "claims/_claim.py": "Job = 1\n",
        "claims/_shared.py": "law = 1\n",
        "claims/d1_gap.py": "from bnlens.claims._claim import Job\nfrom bnlens.claims._shared import law\n",
        "train/__init__.py": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(_content, "_ROOT", root)
    _content._module_version.cache_clear()
    yield tmp_path
    _content._module_version.cache_clear()
    sys.modules.pop("job_module", None)


def version_of(house: Path, text: str) -> str:
    """Return the code version of a job whose module has this text; the module is not executed."""
    module = types.ModuleType("job_module")
    module.__file__ = str(house / "job_module.py")
    Path(module.__file__).write_text(text)
    sys.modules["job_module"] = module
    job = types.FunctionType(one.__code__, {"__name__": "job_module"})
    _content._module_version.cache_clear()
    return _content.code_version(job)


@pytest.mark.parametrize(
    ("imports", "changed", "counts"),
    [
        ("from bnlens import theory", "theory/gap.py", True),
        ("from bnlens.theory import gap", "theory/noise.py", True),  # a room counts as a whole
        ("def inner():\n    from bnlens.theory import gap", "theory/gap.py", True),
        ("import bnlens.theory as law", "theory/gap.py", True),
        ("from bnlens.measure import total", "moments/__init__.py", True),  # through a relative import in a function
        ("import bnlens", "theory/gap.py", True),
        ("from bnlens import report", "moments/__init__.py", True),  # a lazy name may come from any room
        ("from bnlens.claims.d1_gap import law", "claims/_shared.py", True),
        ("from bnlens.theory import gap", "moments/__init__.py", False),
        ("from bnlens import __version__", "theory/gap.py", False),
        ("from bnlens.measure import total", "render/__init__.py", False),
        ("from bnlens.claims.d1_gap import law", "claims/_claim.py", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bnlens import theory", "theory/gap.py", False),
    ],
)
def test_a_change_counts_where_it_can_change_a_number(house: Path, imports: str, changed: str, counts: bool) -> None:
    before = version_of(house, imports)
    path = house / "bnlens" / changed
    path.write_text(path.read_text() + "\nanother = 2\n")
    assert (version_of(house, imports) != before) is counts


def test_comments_docstrings_and_layout_do_not_count(house: Path) -> None:
    before = version_of(house, "from bnlens.theory import gap")
    (house / "bnlens/theory/gap.py").write_text('"""New."""\n\n\ndef gap():\n    """Other docs."""\n    return (1)\n')
    assert version_of(house, "# said otherwise\nfrom bnlens.theory import gap") == before


def test_the_module_of_the_job_counts(house: Path) -> None:
    assert version_of(house, "seed = 1") != version_of(house, "seed = 2")


def one() -> dict[str, object]:
    return {}


def two() -> dict[str, object]:
    return {}


def test_what_is_computed_enters_the_key_and_its_name_does_not() -> None:
    job = Job("a", one, {"seed": 0})
    others = [Job("a", two, {"seed": 0}), Job("a", one, {"seed": 1}), Job("a", one, {})]
    assert len({_content.job_key(other) for other in (job, *others)}) == 4
    assert _content.job_key(Job("b", one, {"seed": 0})) == _content.job_key(job)


def test_order_of_the_configuration_and_cost_do_not_enter_the_key() -> None:
    first = Job("a", one, {"seed": 0, "M": 8}, cost=1)
    second = Job("a", one, {"M": 8, "seed": 0}, cost=9)
    assert _content.job_key(first) == _content.job_key(second)
