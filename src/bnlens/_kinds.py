"""Kinds of values, by annotations: words for each, and a function that takes a value of it.

Scalars of NumPy and PyTorch count as the numbers that they are. What an annotation alone cannot say stands in an ``Annotated``:
a `Range`, or a function from name and value to value that checks in place of the annotation.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import math
import os
import re
import sys
import types
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin

import numpy as np
from numpy.typing import ArrayLike

from bnlens._names import did_you_mean

__all__ = ["Kind", "MisfitError", "Range", "Take", "kind_of"]

_MOST = 2**63 - 1  # of an integer in PyTorch and NumPy


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from ``least`` (``above`` it) to ``most`` (``below`` it), and infinity where ``infinite``."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False
    infinite: bool = False

    def __contains__(self, value: Any) -> bool:
        if np.ndim(value) and not np.size(value):
            return True
        low, high = (value, value) if isinstance(value, int | float) else (np.min(value), np.max(value))
        enough = self.least < low if self.above else self.least <= low
        return bool(enough and (high < self.most if self.below else high <= self.most))

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"from {self.least} {'and below' if self.below else 'to'} {self.most}"
        return f"above {self.least}" if self.above else f"of at least {self.least}" if self.least > -math.inf else ""


Take: TypeAlias = Callable[[str, Any], Any]


class MisfitError(Exception):
    """A value is not what an annotation says."""

    def __init__(self, value: Any, words: str, *, inside: bool = False, hint: str = "") -> None:
        super().__init__()
        self.value, self.words, self.inside, self.hint = value, words, inside, hint


class Kind(NamedTuple):
    """A kind of values.

    Attributes:
        one: of it, in words.
        many: of it, in words.
        take: from name and value to the value as the function gets it.
        infinite: the same, with infinity among the numbers.
    """

    one: str
    many: str
    take: Take
    infinite: Take | None = None


def kind_of(hint: Any) -> Kind | None:
    """Return the kind of an annotation; None where anything goes."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if hint is ArrayLike or origin is np.ndarray:
        take = functools.partial(_take_array, as_array=origin is np.ndarray)
        return Kind(_ARRAY, "arrays of numbers", take, functools.partial(take, infinite=True))
    if isinstance(hint, TypeVar):
        return kind_of(hint.__bound__)
    if origin is Annotated:
        return _narrowed(kind_of(parts[0]), parts[1:])
    if origin in (Union, types.UnionType):
        of_path = any(
            inspect.isclass(cls := get_origin(part) or part) and issubclass(cls, os.PathLike) for part in parts
        )
        kinds = [kind_of(part) for part in parts if not (of_path and part is str)]
        known = [kind for kind in kinds if kind]
        return None if None in kinds else known[0] if len(known) == 1 else _union(known)
    if origin is Literal:
        return _literal(parts)
    if origin is type:
        return Kind("a class", "classes", _taking("a class", inspect.isclass))
    if origin is collections.abc.Callable or hint is collections.abc.Callable:
        return _function(parts)
    cls = origin or hint
    if not inspect.isclass(cls) or cls is object or (getattr(cls, "_is_protocol", False) and not _is_runtime(cls)):
        return None
    if issubclass(cls, os.PathLike):
        return Kind("a path", "paths", _take_path)
    if issubclass(cls, Mapping):
        return _mapping(*(kind_of(part) for part in parts or (Any, Any)))
    if cls in (tuple, list, set, frozenset) or cls.__module__ == "collections.abc":
        return _several(cls, parts)
    name = _public_name(cls)
    one = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return Kind(one, f"{name}s", _taking(one, lambda value: isinstance(value, cls)))


def _public_name(cls: type) -> str:
    """Return the name that a class is imported by, from the outermost package that has it."""
    parts = cls.__module__.split(".")
    packages = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
    home = next((name for name in packages if vars(sys.modules[name]).get(cls.__name__) is cls), cls.__module__)
    return f"{home}.{cls.__name__}".removeprefix("builtins.")


def _is_runtime(cls: type) -> bool:
    return bool(getattr(cls, "_is_runtime_protocol", False))


def _taking(words: str, fits: Callable[[Any], bool]) -> Callable[[str, Any], Any]:
    def take(name: str, value: Any) -> Any:
        if not fits(value):
            raise MisfitError(value, words)
        return value

    return take


def _function(parts: tuple[Any, ...]) -> Kind:
    """Return the kind of functions that take so many arguments by position, as far as they can be asked."""
    places = [None] * len(parts[0]) if parts and isinstance(parts[0], list) else None
    words = "a function" if places is None else f"a function of {len(places)} argument{'s' * (len(places) != 1)}"

    def take(name: str, value: Any) -> Any:
        if not callable(value):
            raise MisfitError(value, "a function")
        if places is not None:
            try:
                inspect.signature(value).bind(*places)
            except TypeError:
                raise MisfitError(value, words) from None
            except ValueError:  # of one in C
                pass
        return value

    return Kind("a function", "functions", take)


def _scalar(value: Any) -> Any:
    """Return the Python number of a scalar of NumPy or PyTorch; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            return value.item()
        except (RuntimeError, TypeError, ValueError):  # on the meta device, say
            return value
    return value


def _take_bool(name: str, value: Any) -> bool:
    found = _scalar(value)
    if not isinstance(found, bool):
        raise MisfitError(value, "True or False")
    return found


def _take_int(name: str, value: Any) -> int:
    if type(value) is int and -_MOST <= value <= _MOST:
        return value
    found = _scalar(value)
    if isinstance(found, bool) or not isinstance(found, Integral):
        raise MisfitError(value, "an integer")
    if abs(int(found)) > _MOST:
        raise MisfitError(value, "an integer below 2**63")
    return int(found)


def _take_float(name: str, value: Any) -> float:
    if type(value) is float and value == value:
        return value
    found = _scalar(value)
    if isinstance(found, bool) or not isinstance(found, Real) or found != found:
        raise MisfitError(value, "a number")
    return found if isinstance(found, float) or (isinstance(found, int) and abs(found) < 2**53) else float(found)


def _take_finite(name: str, value: Any) -> float:
    try:
        found = _take_float(name, value)
    except OverflowError:
        found = math.inf
    if abs(found) == math.inf:
        raise MisfitError(value, "a finite number")
    return found


def _take_path(name: str, value: Any) -> Any:
    if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
        raise MisfitError(value, "a path")
    return value


def _take_array(name: str, value: Any, *, as_array: bool, infinite: bool = False) -> Any:
    if type(value) in (int, float) and (value - value == 0 or (infinite and value == value)):
        return np.asarray(value) if as_array else value
    try:
        array = np.asarray(value)
        if array.dtype == object and all(isinstance(one, Real) for one in array.flat):  # Python integers beyond 64 bits
            array = array.astype(np.float64)
    except (RuntimeError, TypeError, ValueError) as error:
        raise MisfitError(value, _ARRAY) from error
    if array.dtype.kind not in "iuf" or not np.all(array <= math.inf if infinite else np.isfinite(array)):
        raise MisfitError(value, _ARRAY)
    return array if as_array else value


_ARRAY = "a number or an array of finite numbers"


_KINDS: dict[Any, Kind | None] = {
    Any: None,
    bool: Kind("True or False", "True or False", _take_bool),
    int: Kind("an integer", "integers", _take_int),
    float: Kind("a number", "numbers", _take_finite, _take_float),
    str: Kind("a string", "strings", _taking("a string", lambda value: isinstance(value, str))),
    type(None): Kind("None", "None", _taking("None", lambda value: value is None)),
}


def _narrowed(kind: Kind | None, extras: tuple[Any, ...]) -> Kind | None:
    for extra in extras:
        if isinstance(extra, Range) and kind is not None:
            kind = _within(kind, extra)
        elif inspect.isroutine(extra):
            return Kind(kind.one if kind else "", kind.many if kind else "", extra)
    return kind


def _within(kind: Kind, extra: Range) -> Kind:
    base = kind.infinite if extra.infinite and kind.infinite else kind.take
    one = "math.inf" if extra.least == math.inf else f"{kind.one} {extra}"

    def take(name: str, value: Any) -> Any:
        try:
            found = base(name, value)
        except MisfitError as error:
            raise MisfitError(error.value, one if error.words == kind.one else f"{error.words}, and {extra}") from None
        if found not in extra:
            raise MisfitError(value, one)
        return found

    return Kind(one, f"{kind.many} {extra}", take)


def _union(kinds: list[Kind]) -> Kind:
    *most, last = sorted((kind.one for kind in kinds), key=lambda words: words == "None")
    words = f"{', '.join(most)} or {last}"
    by_ease = sorted(kinds, key=lambda kind: kind.one != "None")  # a function may refuse None for good

    def take(name: str, value: Any) -> Any:
        inner, hint = None, ""
        for kind in by_ease:
            try:
                return kind.take(name, value)
            except MisfitError as error:  # noqa: PERF203 - of two or three
                inner = error if error.inside or error.words not in words else inner
                hint = hint or error.hint
        raise inner or MisfitError(value, words, hint=hint)

    return Kind(words, " or ".join(kind.many for kind in kinds), take)


def _literal(values: tuple[Any, ...]) -> Kind:
    words = f"one of {', '.join(map(repr, values))}"

    def take(name: str, value: Any) -> Any:
        if not any(value is one or (isinstance(value, str) and value == one) for one in values):
            names = [one for one in values if isinstance(one, str)]
            raise MisfitError(value, words, hint=did_you_mean(value, names, "", 0.6) if isinstance(value, str) else "")
        return value

    return Kind(words, words, take)


def _several(cls: type, parts: tuple[Any, ...]) -> Kind:
    """Return the kind of a list, a tuple of a given length, or whatever can be iterated."""
    fixed = [kind_of(part) for part in parts] if cls is tuple and Ellipsis not in parts else None
    each = kind_of(parts[0]) if parts else None
    one = "a list" if each is None else f"a list of {each.many}"
    words = one if fixed is None or each is None else f"{len(fixed)} {each.many}"
    refused = (str, bytes) if cls is collections.abc.Iterable else (str, bytes, Mapping)

    def take(name: str, value: Any) -> Any:
        if isinstance(value, refused) or not (hasattr(value, "__iter__") or hasattr(value, "__getitem__")):
            raise MisfitError(value, words)
        if each is None:
            return value
        try:
            items = list(value)
        except TypeError:
            raise MisfitError(value, words) from None
        if fixed is not None and len(items) != len(fixed):
            raise MisfitError(value, words)
        return (tuple if cls is tuple else list)(_inside(each, name, item) for item in items)

    return Kind(words, f"{re.sub('^a ', '', one)}s", take)


def _inside(kind: Kind, name: str, item: Any) -> Any:
    try:
        return kind.take(name, item)
    except MisfitError as error:
        raise MisfitError(error.value, error.words, inside=True, hint=error.hint) from None


def _mapping(keys: Kind | None = None, values: Kind | None = None) -> Kind:
    def take(name: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise MisfitError(value, "a dict")
        for key, item in value.items():
            for kind, part in ((keys, key), (values, item)):
                if kind is not None:
                    _inside(kind, name, part)
        return value

    return Kind("a dict", "dicts", take)
