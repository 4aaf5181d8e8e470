from __future__ import annotations

from pathlib import Path

import pytest

from bnlens.runs import Job
from bnlens.runs._definitions import definitions
from bnlens.runs._source import Source
from bnlens.runs.key import job_key

HOUSE = {
    "__init__.py": '_NAMES = {"report": "measure"}\n\ndef __getattr__(name): ...\n',
    "theory/__init__.py": "from house.theory.gap import gap as gap\n",
    "theory/gap.py": "FACTOR = 2\n\ndef gap():\n    '''Docs.'''\n    return FACTOR  # one\n\ndef other():\n    return 3\n",
    "theory/units.py": (
        "from house.theory.gap import FACTOR\n\nclass Unit:\n    def loss(self):\n        return FACTOR\n\n"
        "    def slope(self):\n        return 1\n\n    def __repr__(self):\n        return 'unit'\n\n"
        "class Special(Unit):\n    def slope(self):\n        return 2\n"
    ),
    "nn/__init__.py": "",
    "nn/layers.py": "from torch import nn\n\nclass Layer(nn.Module):\n    def forward(self, x):\n        return x\n",
    "measure/__init__.py": "from ._sums import total\n\ndef report():\n    return total()\n",
    "measure/_sums.py": (
        "from house.render import page\n\ndef total():\n    from ..moments import mean\n    page()\n    return mean\n"
    ),
    "moments/__init__.py": "mean = 1\nstd = 2\n",
    "render/__init__.py": "def page():\n    return 1\n",
    "rules/__init__.py": (
        "TABLE = {}\n\ndef register(rule):\n    TABLE[rule] = 1\n\n"
        "def apply():\n    from house.rules import own\n    return TABLE\n"
    ),
    "rules/own.py": "from house.rules import register\n\ndef rule():\n    return 1\n\nregister(rule)\n",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The folder of a package laid out like bnlens."""
    root = tmp_path / "house"
    for name, text in HOUSE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def found(house: Path, body: str, imports: str = "") -> dict[str, str]:
    """The definitions behind a function with this body, in a module with these imports."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (house / "job.py").write_text(f"{imports}\n\ndef job():\n{lines}")
    return definitions(Source(house), "house.job", "job")


EVERY_WAY_TO_A_NAME = [
    ("return gap()", "from house.theory import gap"),
    ("from house.theory import gap\nreturn gap()", ""),
    ("return theory.gap()", "from house import theory"),
    ("return law.gap()", "import house.theory as law"),
    ("return house.theory.gap()", "import house.theory"),
    ("return gap.gap()", "from house.theory import gap"),  # an attribute of what is called as the module is
    ("return getattr(theory, name)()", "from house import theory"),  # all of a module that is handed on
    ("return other()", "from house.theory.gap import gap as other"),
    ("return helper()", "from house.theory import gap\n\ndef helper():\n    return [gap for _ in range(2)]"),
    ("return TABLE['gap']", "from house.theory import gap\n\nTABLE = {'gap': gap}"),
    ("return gap()", "try:\n    from house.theory import gap\nexcept ImportError:\n    gap = None"),
    ("return taking(1)", "from house.theory import gap\n\ndef taking(x: Annotated[int, gap]): ..."),
    (
        "return taking(x=1)",
        "from house.theory import gap\n\nKind = Annotated[int, gap]\n\ndef taking(*, x: Kind | None): ...",
    ),
]


@pytest.mark.parametrize(("body", "imports"), EVERY_WAY_TO_A_NAME)
@pytest.mark.parametrize(("old", "new"), [("return FACTOR", "return FACTOR + 1"), ("FACTOR = 2", "FACTOR = 4")])
def test_a_changed_definition_counts_however_it_is_reached(
    house: Path, body: str, imports: str, old: str, new: str
) -> None:
    before = found(house, body, imports)
    (house / "theory/gap.py").write_text(HOUSE["theory/gap.py"].replace(old, new))
    assert found(house, body, imports) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("theory/gap.py", "return 3", "return 4"),  # another function of the same module
        ("theory/gap.py", "'''Docs.'''", "'''Other docs.'''"),
        ("theory/gap.py", "# one", "# two"),
        ("theory/gap.py", "def gap():", "def gap() -> int:"),
        ("theory/gap.py", "return FACTOR", "return (\n        FACTOR\n    )"),
        ("moments/__init__.py", "std = 2", "std = 3"),
        ("render/__init__.py", "return 1", "return 2"),
    ],
)
def test_what_a_function_does_not_use_or_only_shows_does_not_count(house: Path, file: str, old: str, new: str) -> None:
    imports = (
        "from house import report\nfrom house.render import page\nfrom house.theory import gap\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.theory import units\n"
    )
    before = found(house, "page()\nreturn gap() + report()", imports)
    (house / file).write_text(HOUSE[file].replace(old, new))
    assert found(house, "page()\nreturn gap() + report()", imports) == before


@pytest.mark.parametrize(
    ("body", "method", "counts"),
    [
        ("return Unit().loss()", "loss", True),
        ("return Unit().loss()", "slope", False),
        ("return getattr(Unit(), 'slope')", "slope", True),
        ("return Special().slope()", "slope", True),
        ("return Unit()", "__repr__", False),
    ],
)
def test_a_method_counts_where_its_name_is_used(house: Path, body: str, method: str, counts: bool) -> None:
    places = found(house, body, "from house.theory.units import Special, Unit")
    assert any(place.startswith(f"house.theory.units:Unit.{method}#") for place in places) is counts


def test_a_class_with_a_foreign_base_counts_with_all_its_methods(house: Path) -> None:
    assert "house.nn.layers:Layer.forward#0" in found(house, "return Layer()", "from house.nn.layers import Layer")


def test_what_an_import_registers_counts(house: Path) -> None:
    places = found(house, "return apply()", "from house.rules import apply")
    assert {"house.rules.own:rule", "house.rules.own:!0"} <= set(places)


def test_a_lazy_name_of_the_package_is_found_in_its_room(house: Path) -> None:
    places = found(house, "return report()", "from house import report")
    assert {"house.measure:report", "house.measure._sums:total", "house.moments:mean"} <= set(places)
    assert "house.theory.gap:gap" not in places


def test_a_name_from_elsewhere_counts_by_where_it_comes_from(house: Path) -> None:
    one, other = (found(house, "return log(2)", f"from {module} import log") for module in ("math", "cmath"))
    assert one != other


def one() -> dict[str, object]:
    return {}


def two() -> dict[str, object]:
    return {}


def test_what_is_computed_enters_the_key_and_its_name_order_and_cost_do_not() -> None:
    job = Job("a", one, {"seed": 0})
    others = [Job("a", two, {"seed": 0}), Job("a", one, {"seed": 1}), Job("a", one, {})]
    assert len({job_key(other) for other in (job, *others)}) == 4
    assert job_key(Job("b", one, {"seed": 0}, cost=9)) == job_key(job)
    assert job_key(Job("a", one, {"seed": 0, "M": 8})) == job_key(Job("a", one, {"M": 8, "seed": 0}))
