"""The arguments of public functions, held to their annotations before anything runs; see `bnlens._kinds`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar, get_type_hints

from bnlens._kinds import MisfitError, Range, Take, kind_of
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


Count: TypeAlias = Annotated[int, Range(1)]


Positive: TypeAlias = Annotated[float, Range(0, above=True)]


NotNegative: TypeAlias = Annotated[float, Range(0)]


AtLeastTwo: TypeAlias = Annotated[int, Range(2)]


Whole: TypeAlias = Annotated[int, Range(0)]


Seed: TypeAlias = Whole


Infinite: TypeAlias = Annotated[float, Range(math.inf, infinite=True)]


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
        except MisfitError as error:
            raise _refusal(name, error) from None
        return target(*given, **kwargs)

    return call  # type: ignore[return-value]


def check(name: str, value: Any, annotation: Any) -> Any:
    """Return a value as `checked` hands it to a function whose argument ``name`` has that annotation.

    Raises:
        UsageError: it is not what the annotation says.
    """
    kind = kind_of(annotation)
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

    places: Sequence[tuple[str, Take] | None]
    rest: tuple[str, Take] | None
    named: Mapping[str, Take]


def _plan(target: Callable[..., Any], args: tuple[Any, ...]) -> _Plan:
    own = inspect.unwrap(target)
    hints: dict[str, Any] = {}
    if dataclasses.is_dataclass(args and type(args[0])) and own.__name__ == "__init__":
        for base in reversed(type(args[0]).__mro__):
            hints |= _resolved(inspect.get_annotations(base), vars(sys.modules[base.__module__]))
    else:
        hints = _resolved(own.__annotations__, own.__globals__)
    takes = {name: kind.take for name, hint in hints.items() if (kind := kind_of(hint))}
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


def _taken(name: str, value: Any, take: Take) -> Any:
    try:
        return take(name, value)
    except MisfitError as error:
        raise _refusal(name, error) from None


def _refusal(name: str, error: MisfitError) -> UsageError:
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
