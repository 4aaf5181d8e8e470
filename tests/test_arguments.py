"""What `checked` takes and how it hands it on; what it refuses is in test_wrong_arguments.py."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike

import bnlens
from bnlens._arguments import (
    AtLeastTwo,
    Count,
    Infinite,
    Positive,
    Range,
    Seed,
    check,
    check_call,
    checked,
    reason,
    shown,
)
from bnlens.errors import UsageError


@pytest.mark.parametrize(
    ("annotation", "value", "taken"),
    [
        (Count, np.int64(3), 3),
        (Count, torch.tensor(3), 3),
        (Seed, np.uint8(0), 0),
        (bool, np.True_, True),
        (bool, torch.tensor(False), False),
        (float, np.float32(0.5), 0.5),
        (float, torch.tensor(0.5), 0.5),
        (float, Fraction(1, 2), 0.5),
        (float, 3, 3),
        (Positive, 2**70, float(2**70)),
        (AtLeastTwo | Infinite | None, math.inf, math.inf),
        (AtLeastTwo | Infinite | None, np.int32(8), 8),
        (AtLeastTwo | Sequence[AtLeastTwo], range(8, 10), [8, 9]),
        (AtLeastTwo | Sequence[AtLeastTwo], np.array([8, 16]), [8, 16]),
        (AtLeastTwo | Sequence[AtLeastTwo], torch.tensor([8, 16]), [8, 16]),
        (AtLeastTwo | Iterable[AtLeastTwo], (size for size in (8, 16)), [8, 16]),
        (tuple[Count, Count], [np.int64(1), 2], (1, 2)),
        (str | Sequence[str], "one", "one"),
        (Literal["a", "b"] | None, None, None),
    ],
)
def test_right_values_are_handed_on_as_python_has_them(annotation: Any, value: Any, taken: Any) -> None:
    found = check("name", value, annotation)
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Path | str, Path("file")),
        (str, "text"),
        (Iterable[Any], iter([])),
        (Mapping[str, int], {"a": 1}),
        (ArrayLike, torch.ones(2)),
        (ArrayLike, [2**70, 1]),
        (Callable[[Any, Any], Any], torch.nn.functional.cross_entropy),
        (Callable[[Any, Any], Any], torch.nn.CrossEntropyLoss()),
        (Callable[[Any, Any], Any], torch.add),
        (Callable[..., Any], max),
        (torch.nn.Module, torch.nn.Identity()),
    ],
)
def test_other_right_values_are_handed_on_as_they_are(annotation: Any, value: Any) -> None:
    assert check("name", value, annotation) is value


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (Count, 0, "name is 0; it must be an integer of at least 1"),
        (Count, 1.0, "name is 1.0; it must be an integer of at least 1"),
        (Seed, 2**70, f"name is {2**70}; it must be an integer below 2**63, and of at least 0"),
        (float, math.inf, "name is inf; it must be a finite number"),
        (Positive | None, math.nan, "name is nan; it must be a number above 0 or None"),
        (AtLeastTwo | Sequence[AtLeastTwo], [8, 1], "name has 1 in it; each must be an integer of at least 2"),
        (Sequence[str], "abc", "name is 'abc'; it must be a list of strings"),
        (Sequence[str], {"a": 1}, "name is {'a': 1}; it must be a list of strings"),
        (Mapping[str, Count], {"a": 0}, "name has 0 in it; each must be an integer of at least 1"),
        (tuple[Count, Count], [1, 2, 3], "name is [1, 2, 3]; it must be 2 integers of at least 1"),
        (Literal["mean", "sum"], "maen", "name is 'maen'; it must be one of 'mean', 'sum'; did you mean 'mean'?"),
        (str | Path, "a\0b", "name is 'a\\x00b'; it must be a path"),
        (Callable[[Any, Any], Any], lambda only: None, "name is <lambda>(only); it must be a function of 2 arguments"),
        (torch.nn.Module, torch.ones(2), "name is of type Tensor; it must be a torch.nn.Module"),
        (bnlens.Report, 5, "name is 5; it must be a bnlens.measure.Report"),
        (ArrayLike, [1.0, math.nan], "name is [1.0, nan]; it must be a number or an array of finite numbers"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(annotation: Any, value: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check("name", value, annotation)
    assert str(caught.value) == words


@checked
def between(low: Range, *rest: int, high: Count = 5, **others: Any) -> tuple[Any, ...]:
    """Return what it is given."""
    return (low, rest, high, others)


@checked
@dataclass(frozen=True)
class Base:
    size: Count


@checked
@dataclass(frozen=True)
class Derived(Base):
    name: str = "x"


def test_a_function_stays_itself() -> None:
    assert between.__doc__ == "Return what it is given."
    assert list(inspect.signature(between).parameters) == ["low", "rest", "high", "others"]
    assert pickle.loads(pickle.dumps(between)) is between
    low = Range(1)
    assert between(low, 1, np.int64(2), high=3, more="more") == (low, (1, 2), 3, {"more": "more"})
    with pytest.raises(UsageError, match="rest is 'b'; it must be an integer"):
        between(low, 1, "b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'low'"):
        between()  # type: ignore[call-arg]


def test_a_dataclass_checks_the_fields_of_its_bases() -> None:
    assert Derived(size=np.int64(3)).size == 3
    with pytest.raises(UsageError, match="size is 0; it must be an integer of at least 1"):
        Derived(0)
    with pytest.raises(UsageError, match="name is 3; it must be a string"):
        Derived(1, name=3)  # type: ignore[arg-type]


def test_arguments_can_be_checked_without_a_call() -> None:
    check_call(between, high=3)
    with pytest.raises(UsageError, match="high is 0; it must be an integer of at least 1"):
        check_call(between, high=0)
    with pytest.raises(UsageError, match="between has no argument hihg; did you mean 'high'"):
        check_call(between, hihg=3)


def test_messages_stay_short() -> None:
    assert shown("a" * 100) == repr("a" * 100)[:50] + "..."
    assert shown([0] * 100) == "of type list"
    assert shown(torch.ones(2)) == "of type Tensor"
    assert reason(ValueError("first.\nsecond")) == "first"
    assert reason(KeyError()) == "KeyError"
