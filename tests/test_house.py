"""A stranger finds his way: the map of docs/architecture.md is true, and docstrings are sentences."""

import ast
import re
from pathlib import Path

import bnlens
from bnlens.claims import claims
from bnlens.labs import LABS

ROOT = Path(bnlens.__file__).parent
DOCS = Path(__file__).parents[1] / "docs"
MAP = (DOCS / "architecture.md").read_text(encoding="utf-8")


def formulas() -> dict[str, str]:
    """Section of the theory sheet -> the rest of its row in the map."""
    rows = re.findall(r"^\| ([A-D]\.\d(?:, [A-D]\.\d)*) \| (.+)$", MAP, re.MULTILINE)
    return {section: rest for sections, rest in rows for section in sections.split(", ")}


def test_the_map_names_files_that_exist() -> None:
    for section, row in formulas().items():
        files = re.findall(r"`([\w/]+\.py)`", row)
        assert files, section
        folder = ""
        for file in files:
            folder = file.rpartition("/")[0] or folder  # a bare name lies beside the file before it
            assert (ROOT / folder / Path(file).name).is_file(), (section, file)


def test_the_map_knows_every_section_of_the_theory_sheet() -> None:
    sheet = "\n".join(part.read_text(encoding="utf-8") for part in (ROOT / "theory" / "sheet").glob("?.md"))
    sections = re.findall(r"^### ([A-D]\.\d)", sheet, re.MULTILINE)
    assert len(sections) == 19
    assert set(sections) - {"C.0"} <= set(formulas())  # C.0 has conventions alone


def test_the_map_knows_every_room() -> None:
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(re.findall(r"^\| \d \| `(\w+)`", MAP, re.MULTILINE))


def test_claims_and_labs_are_found_by_their_names() -> None:
    assert all(len(list((ROOT / "claims").glob(f"{name.lower()}_*.py"))) == 1 for name in claims())
    assert all((ROOT / "labs" / f"{lab.id}.py").is_file() for lab in LABS)


def test_each_tool_has_a_test() -> None:
    rows = re.findall(
        r"^\| [^|]+\| [^|]+\|[^|]*\| `([\w/.]+)::(\w+)` \|$",
        (DOCS / "tools.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert len(rows) > 15
    for file, test in rows:
        assert f"\ndef {test}(" in (DOCS.parent / file).read_text(encoding="utf-8"), (file, test)


def test_the_package_shows_its_public_names_alone() -> None:
    shown = [name for name in dir(bnlens) if not name.startswith("__")]
    assert shown == sorted(set(bnlens.__all__) - {"__version__"})
    assert {"__version__", "__name__", "__path__"} < set(dir(bnlens))


def test_no_docstring_begins_with_what() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node))
        if text.startswith("What ")
    ]
    assert found == []
