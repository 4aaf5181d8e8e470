"""The arguments of public functions, checked against their annotations before anything runs.

An annotation says what an argument may be; `checked` holds calls to it. Scalars of NumPy and PyTorch count as the numbers that
they are. What an annotation alone cannot say stands in an ``Annotated``: a `Range`, or a function from name and value to value
that checks in place of the annotation.
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
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import ArrayLike

from bnlens._names import did_you_mean
from bnlens.errors import UsageError

__all__ = [
    "AtLeastTwo",
    "Count",
    "Infinite",
    "NotNegative",
    "Positive",
    "Range",
    "Seed",
    "check",
    "checked",
    "reason",
    "shown",
]

T = TypeVar("T", bound=Callable[..., Any])

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


Count: TypeAlias = Annotated[int, Range(1)]
Positive: TypeAlias = Annotated[float, Range(0, above=True)]
NotNegative: TypeAlias = Annotated[float, Range(0)]
AtLeastTwo: TypeAlias = Annotated[int, Range(2)]
Whole: TypeAlias = Annotated[int, Range(0)]
Seed: TypeAlias = Whole
Infinite: TypeAlias = Annotated[float, Range(math.inf, infinite=True)]


_Take: TypeAlias = Callable[[str, Any], Any]


class _MisfitError(Exception):
    """A value is not what an annotation says."""

    def __init__(self, value: Any, words: str, *, inside: bool = False, hint: str = "") -> None:
        super().__init__()
        self.value, self.words, self.inside, self.hint = value, words, inside, hint


class _Kind(NamedTuple):
    """What a value may be.

    Attributes:
        one: of it, in words.
        many: of it, in words.
        take: from name and value to the value as the function gets it.
        infinite: the same, with infinity among the numbers.
    """

    one: str
    many: str
    take: _Take
    infinite: _Take | None = None


def checked(target: T) -> T:
    """Return a function, or a class, that checks its arguments against their annotations when it is called.

    Raises:
        UsageError: (when called) an argument is not what its annotation says.
    """
    if inspect.isclass(target):
        setattr(target, "__init__", checked(target.__init__))  # noqa: B010 - a type checker takes no assignment
        return target
    plan: list[_Plan] = []

    @functools.wraps(target)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not plan:
            plan.append(_plan(target, args))
        places, rest, named = plan[0]
        given, name, last = args, "", len(places)
        try:
            for place, value in enumerate(args):
                found = places[place] if place < last else rest
                if found is not None:
                    name, take = found
                    if (taken := take(name, value)) is not value:
                        given = (*given[:place], taken, *given[place + 1 :])
            for name in kwargs:
                if name in named:
                    kwargs[name] = named[name](name, kwargs[name])
        except _MisfitError as error:
            raise _refusal(name, error) from None
        return target(*given, **kwargs)

    return call  # type: ignore[return-value]


def check(name: str, value: Any, annotation: Any) -> Any:
    """Return a value as `checked` hands it to a function whose argument ``name`` has that annotation.

    Raises:
        UsageError: it is not what the annotation says.
    """
    kind = _kind(annotation)
    return value if kind is None else _taken(name, value, kind.take)


def check_call(function: Callable[..., Any], **values: Any) -> None:
    """Check arguments of a function that `checked` holds to its annotations, without calling it.

    Raises:
        UsageError: an argument is not what its annotation says, or there is none of that name.
    """
    target = inspect.unwrap(function)
    named, known = _plan(target, ()).named, inspect.signature(target).parameters
    for name, value in values.items():
        if name not in known:
            hint = did_you_mean(name, known, f"see {target.__name__}")
            raise UsageError(f"{target.__name__} has no argument {name}; {hint}")
        if name in named:
            _taken(name, value, named[name])


def shown(value: Any) -> str:
    """Return a value as a message shows it: itself if that is short, or else its type."""
    if value is None or isinstance(value, bool | Real | str | bytes | list | tuple | dict | os.PathLike):
        text = repr(value)
        if "\n" not in text and len(text) <= 60:
            return text
        return f"{text.splitlines()[0][:50]}..." if isinstance(value, str) else f"of type {type(value).__name__}"
    if inspect.isfunction(value):
        return f"{value.__name__}({', '.join(inspect.signature(value).parameters)})"
    return f"of type {type(value).__name__}"


def reason(error: BaseException) -> str:
    """Return the first line of what an error says, without its full stop; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class _Plan(NamedTuple):
    """How the arguments of a function are taken: those by position, those that follow them, and those by name."""

    places: Sequence[tuple[str, _Take] | None]
    rest: tuple[str, _Take] | None
    named: Mapping[str, _Take]


def _plan(target: Callable[..., Any], args: tuple[Any, ...]) -> _Plan:
    own = inspect.unwrap(target)
    hints: dict[str, Any] = {}
    if dataclasses.is_dataclass(args and type(args[0])) and own.__name__ == "__init__":
        for base in reversed(type(args[0]).__mro__):
            hints |= _resolved(inspect.get_annotations(base), vars(sys.modules[base.__module__]))
    else:
        hints = _resolved(own.__annotations__, own.__globals__)
    takes = {name: kind.take for name, hint in hints.items() if (kind := _kind(hint))}
    kinds = inspect.Parameter
    by_kind: dict[Any, list[str]] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        by_kind.setdefault(parameter.kind, []).append(name)
    places = [*by_kind.get(kinds.POSITIONAL_ONLY, []), *by_kind.get(kinds.POSITIONAL_OR_KEYWORD, [])]
    taken = [
        (name, takes[name]) if name in takes else None for name in (*places, *by_kind.get(kinds.VAR_POSITIONAL, []))
    ]
    by_name = (*by_kind.get(kinds.POSITIONAL_OR_KEYWORD, []), *by_kind.get(kinds.KEYWORD_ONLY, []))
    rest = taken[-1] if kinds.VAR_POSITIONAL in by_kind else None
    return _Plan(taken[: len(places)], rest, {name: takes[name] for name in by_name if name in takes})


def _taken(name: str, value: Any, take: _Take) -> Any:
    try:
        return take(name, value)
    except _MisfitError as error:
        raise _refusal(name, error) from None


def _refusal(name: str, error: _MisfitError) -> UsageError:
    found = f"has {shown(error.value)} in it; each" if error.inside else f"is {shown(error.value)}; it"
    return UsageError(f"{name} {found} must be {error.words}{error.hint and f'; {error.hint}'}")


class _Names(dict[str, Any]):
    """Names of a module; those that it imports for type checkers alone mean anything."""

    def __missing__(self, name: str) -> Any:
        return getattr(sys.modules["builtins"], name, Any)


def _resolved(annotations: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = _Names(names)
    for name, annotation in annotations.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            found |= get_type_hints(holder, {}, known, include_extras=True)
        except (AttributeError, TypeError, NameError):  # a part of what is imported for type checkers alone
            continue
    return found


def _kind(hint: Any) -> _Kind | None:
    """Return the kind of an annotation; None where anything goes."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if hint is ArrayLike or origin is np.ndarray:
        take = functools.partial(_take_array, as_array=origin is np.ndarray)
        return _Kind(_ARRAY, "arrays of numbers", take, functools.partial(take, infinite=True))
    if isinstance(hint, TypeVar):
        return _kind(hint.__bound__)
    if origin is Annotated:
        return _narrowed(_kind(parts[0]), parts[1:])
    if origin in (Union, types.UnionType):
        of_path = any(
            inspect.isclass(cls := get_origin(part) or part) and issubclass(cls, os.PathLike) for part in parts
        )
        kinds = [_kind(part) for part in parts if not (of_path and part is str)]
        known = [kind for kind in kinds if kind]
        return None if None in kinds else known[0] if len(known) == 1 else _union(known)
    if origin is Literal:
        return _literal(parts)
    if origin is type:
        return _Kind("a class", "classes", _taking("a class", inspect.isclass))
    if origin is collections.abc.Callable or hint is collections.abc.Callable:
        return _function(parts)
    cls = origin or hint
    if not inspect.isclass(cls) or cls is object or (getattr(cls, "_is_protocol", False) and not _is_runtime(cls)):
        return None
    if issubclass(cls, os.PathLike):
        return _Kind("a path", "paths", _take_path)
    if issubclass(cls, Mapping):
        return _mapping(*(_kind(part) for part in parts or (Any, Any)))
    if cls in (tuple, list, set, frozenset) or cls.__module__ == "collections.abc":
        return _several(cls, parts)
    name = _public_name(cls)
    one = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return _Kind(one, f"{name}s", _taking(one, lambda value: isinstance(value, cls)))


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
            raise _MisfitError(value, words)
        return value

    return take


def _function(parts: tuple[Any, ...]) -> _Kind:
    """Return the kind of functions that take so many arguments by position, as far as they can be asked."""
    places = [None] * len(parts[0]) if parts and isinstance(parts[0], list) else None
    words = "a function" if places is None else f"a function of {len(places)} argument{'s' * (len(places) != 1)}"

    def take(name: str, value: Any) -> Any:
        if not callable(value):
            raise _MisfitError(value, "a function")
        if places is not None:
            try:
                inspect.signature(value).bind(*places)
            except TypeError:
                raise _MisfitError(value, words) from None
            except ValueError:  # of one in C
                pass
        return value

    return _Kind("a function", "functions", take)


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
        raise _MisfitError(value, "True or False")
    return found


def _take_int(name: str, value: Any) -> int:
    if type(value) is int and -_MOST <= value <= _MOST:
        return value
    found = _scalar(value)
    if isinstance(found, bool) or not isinstance(found, Integral):
        raise _MisfitError(value, "an integer")
    if abs(int(found)) > _MOST:
        raise _MisfitError(value, "an integer below 2**63")
    return int(found)


def _take_float(name: str, value: Any) -> float:
    if type(value) is float and value == value:
        return value
    found = _scalar(value)
    if isinstance(found, bool) or not isinstance(found, Real) or found != found:
        raise _MisfitError(value, "a number")
    return found if isinstance(found, float) or (isinstance(found, int) and abs(found) < 2**53) else float(found)


def _take_finite(name: str, value: Any) -> float:
    try:
        found = _take_float(name, value)
    except OverflowError:
        found = math.inf
    if abs(found) == math.inf:
        raise _MisfitError(value, "a finite number")
    return found


def _take_path(name: str, value: Any) -> Any:
    if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
        raise _MisfitError(value, "a path")
    return value


def _take_array(name: str, value: Any, *, as_array: bool, infinite: bool = False) -> Any:
    if type(value) in (int, float) and (value - value == 0 or (infinite and value == value)):
        return np.asarray(value) if as_array else value
    try:
        array = np.asarray(value)
        if array.dtype == object and all(isinstance(one, Real) for one in array.flat):  # Python integers beyond 64 bits
            array = array.astype(np.float64)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _MisfitError(value, _ARRAY) from error
    if array.dtype.kind not in "iuf" or not np.all(array <= math.inf if infinite else np.isfinite(array)):
        raise _MisfitError(value, _ARRAY)
    return array if as_array else value


_ARRAY = "a number or an array of numbers, all finite"
_KINDS: dict[Any, _Kind | None] = {
    Any: None,
    bool: _Kind("True or False", "True or False", _take_bool),
    int: _Kind("an integer", "integers", _take_int),
    float: _Kind("a number", "numbers", _take_finite, _take_float),
    str: _Kind("a string", "strings", _taking("a string", lambda value: isinstance(value, str))),
    type(None): _Kind("None", "None", _taking("None", lambda value: value is None)),
}


def _narrowed(kind: _Kind | None, extras: tuple[Any, ...]) -> _Kind | None:
    for extra in extras:
        if isinstance(extra, Range) and kind is not None:
            kind = _within(kind, extra)
        elif inspect.isroutine(extra):
            return _Kind(kind.one if kind else "", kind.many if kind else "", extra)
    return kind


def _within(kind: _Kind, extra: Range) -> _Kind:
    base = kind.infinite if extra.infinite and kind.infinite else kind.take
    one = "math.inf" if extra.least == math.inf else f"{kind.one} {extra}"

    def take(name: str, value: Any) -> Any:
        try:
            found = base(name, value)
        except _MisfitError as error:
            raise _MisfitError(error.value, one if error.words == kind.one else f"{error.words}, and {extra}") from None
        if found not in extra:
            raise _MisfitError(value, one)
        return found

    return _Kind(one, f"{kind.many} {extra}", take)


def _union(kinds: list[_Kind]) -> _Kind:
    *most, last = sorted((kind.one for kind in kinds), key=lambda words: words == "None")
    words = f"{', '.join(most)} or {last}"
    by_ease = sorted(kinds, key=lambda kind: kind.one != "None")  # a function may refuse None for good

    def take(name: str, value: Any) -> Any:
        inner, hint = None, ""
        for kind in by_ease:
            try:
                return kind.take(name, value)
            except _MisfitError as error:  # noqa: PERF203 - of two or three
                inner = error if error.inside or error.words not in words else inner
                hint = hint or error.hint
        raise inner or _MisfitError(value, words, hint=hint)

    return _Kind(words, " or ".join(kind.many for kind in kinds), take)


def _literal(values: tuple[Any, ...]) -> _Kind:
    words = f"one of {', '.join(map(repr, values))}"

    def take(name: str, value: Any) -> Any:
        if not any(value is one or (isinstance(value, str) and value == one) for one in values):
            names = [one for one in values if isinstance(one, str)]
            raise _MisfitError(value, words, hint=did_you_mean(value, names, "", 0.6) if isinstance(value, str) else "")
        return value

    return _Kind(words, words, take)


def _several(cls: type, parts: tuple[Any, ...]) -> _Kind:
    """Return the kind of a list, a tuple of a given length, or whatever can be iterated."""
    fixed = [_kind(part) for part in parts] if cls is tuple and Ellipsis not in parts else None
    each = _kind(parts[0]) if parts else None
    one = "a list" if each is None else f"a list of {each.many}"
    words = one if fixed is None or each is None else f"{len(fixed)} {each.many}"
    refused = (str, bytes) if cls is collections.abc.Iterable else (str, bytes, Mapping)

    def take(name: str, value: Any) -> Any:
        if isinstance(value, refused) or not (hasattr(value, "__iter__") or hasattr(value, "__getitem__")):
            raise _MisfitError(value, words)
        if each is None:
            return value
        try:
            items = list(value)
        except TypeError:
            raise _MisfitError(value, words) from None
        if fixed is not None and len(items) != len(fixed):
            raise _MisfitError(value, words)
        return (tuple if cls is tuple else list)(_inside(each, name, item) for item in items)

    return _Kind(words, f"{re.sub('^a ', '', one)}s", take)


def _inside(kind: _Kind, name: str, item: Any) -> Any:
    try:
        return kind.take(name, item)
    except _MisfitError as error:
        raise _MisfitError(error.value, error.words, inside=True, hint=error.hint) from None


def _mapping(keys: _Kind | None = None, values: _Kind | None = None) -> _Kind:
    def take(name: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _MisfitError(value, "a dict")
        for key, item in value.items():
            for kind, part in ((keys, key), (values, item)):
                if kind is not None:
                    _inside(kind, name, part)
        return value

    return _Kind("a dict", "dicts", take)
