import csv
import io
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest

from bnlens._plain import csv_text, plain


@dataclass(frozen=True)
class Pair:
    value: float
    stderr: float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("-inf"), None),
        (np.float32("nan"), None),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1.5, np.inf]]), [[1.5, None]]),
        (Fraction(1, 4), 0.25),
        (Pair(0.5, float("nan")), {"value": 0.5, "stderr": None}),
        ({1: (True, None, "inf")}, {"1": [True, None, "inf"]}),
        (PurePosixPath("a/b"), "a/b"),
    ],
)
def test_whatever_comes_becomes_json(value: Any, expected: Any):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+1", "'+1+1"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ('a, "b"\n=c', 'a, "b"\n=c'),
        ("", ""),
        (-0.1, "-0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (np.float64(2.5), "2.5"),
        (float("-inf"), "-inf"),
        (np.float64("nan"), ""),
        (None, ""),
        (False, "False"),
    ],
)
def test_a_cell_keeps_its_digits_and_no_text_becomes_a_formula(value: Any, cell: str):
    [row] = csv.DictReader(io.StringIO(csv_text([{"=name": 1, "value": value}])))
    assert row == {"'=name": "1", "value": cell}


def test_columns_are_chosen_and_ordered():
    assert csv_text([{"a": 1, "b": 2}, {"b": 3}], ["b", "c"]) == "b,c\n2,\n3,\n"
    assert csv_text([]) == "\n"
