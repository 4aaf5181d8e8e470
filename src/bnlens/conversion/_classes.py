"""The class that a layer takes on: its own, with the normalisation of `bnlens.nn` under it.

A subclass S of torch's ``BatchNorm2d`` becomes a class with the bases (S, bnlens.nn.BatchNorm2d). In the order of method
resolution ours comes after S and before torch's, so S's ``super().forward(x)`` reaches our normalisation and all else S
does stays. The layer remains an instance of S.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

import bnlens.nn
from bnlens.conversion._changes import names_of_ours
from bnlens.conversion._registry import Rule, find_rule, full_name
from bnlens.errors import NeedsRuleError, NotConvertibleError
from bnlens.nn import DialBatchNorm

__all__ = ["converted_class", "original_class"]

_GENERATED: dict[type, tuple[Rule, type[DialBatchNorm]]] = {}  # by the original class


def converted_class(cls: type[nn.Module], path: str) -> type[DialBatchNorm]:
    """Return the class that a layer of class ``cls`` takes on.

    Raises:
        NeedsRuleError: ``cls`` overrides ``forward`` and does not call ``super().forward``, or uses a name that our layers use.
        NotConvertibleError: ``cls`` lets no class derive from it.
    """
    found = find_rule(cls)
    assert found is not None  # noqa: S101 - every subclass of torch's base has a rule
    kind, rule = found
    if kind is cls and rule.layer_class is not None:
        assert issubclass(rule.layer_class, DialBatchNorm)  # noqa: S101
        return rule.layer_class
    cached = _GENERATED.get(cls)
    if cached is not None and cached[0] is rule:
        return cached[1]
    names, above = names_of_ours(), cls.__mro__[: cls.__mro__.index(kind)]
    for base in cls.__mro__[: cls.__mro__.index(_plain_kind(cls))]:
        if base in above and "forward" in vars(base) and not _calls_super(vars(base)["forward"]):
            raise NeedsRuleError(
                f"layer {path!r} ({full_name(cls)}) has a forward that calls no super().forward, so its normalisation cannot "
                "be told from what else it does; make it call super().forward, or register_rule(kind, forward=...)"
            )
        if taken := sorted(names & set(vars(base))):
            raise NeedsRuleError(
                f"layer {path!r} ({full_name(cls)}) has a {taken[0]!r} of its own, a name that bnlens layers use; rename it, "
                "or register_rule(kind, to=..., back=...)"
            )
    try:
        if kind is cls:
            generated = _with_forward(cls, converted_class(_plain_kind(cls), path), rule)
        else:
            overrides = any("forward" in vars(base) for base in above)
            generated = _with_ours_below(cls, converted_class(kind, path), watched=overrides)
    except TypeError as error:
        raise NotConvertibleError(
            f"layer {path!r} ({full_name(cls)}) cannot be derived from, Python says: {error}; leave it out by layers=, or "
            "register_rule(kind, to=..., back=...)"
        ) from error
    _GENERATED[cls] = (rule, generated)
    return generated


def original_class(cls: type) -> type[nn.Module] | None:
    """Return the class that `converted_class` would turn into ``cls``; None for a class that somebody derived from ours."""
    if "_original" in vars(cls):
        original: type[nn.Module] = vars(cls)["_original"]
        return original
    plain = next(base for base in cls.__mro__ if not issubclass(base, DialBatchNorm))
    found = find_rule(plain)
    ready = cls in _ready_classes() or (found is not None and found[1].layer_class is cls)
    return plain if ready and issubclass(plain, nn.Module) else None


def _ready_classes() -> list[type]:
    named = (getattr(bnlens.nn, name) for name in bnlens.nn.__all__)
    return [value for value in named if inspect.isclass(value) and value is not DialBatchNorm]


def _plain_kind(cls: type) -> type[nn.Module]:
    """Return the nearest class, from ``cls`` on, for which there is a layer that normalises and does nothing else."""
    for base in cls.__mro__:
        found = find_rule(base)
        if found is not None and found[0] is base and found[1].layer_class is not None:
            return base
    raise AssertionError(f"{full_name(cls)} does not derive from torch's batch normalization")


def _calls_super(forward: Any) -> bool:
    """Return whether a ``forward`` names ``super``; of one that is no Python function this is taken to be so."""
    code = getattr(inspect.unwrap(forward), "__code__", None)
    return code is None or "super" in code.co_names


def _with_forward(cls: type, ours: type[DialBatchNorm], rule: Rule) -> type[DialBatchNorm]:
    rule_forward = rule.forward
    assert rule_forward is not None  # noqa: S101 - rules that refuse have done so by now

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return rule_forward(self, partial(ours.forward, self), *args, **kwargs)

    return _derive(cls, (cls, ours), forward)


def _with_ours_below(cls: type, ours: type[DialBatchNorm], *, watched: bool) -> type[DialBatchNorm]:
    if not watched:
        return _derive(cls, (cls, ours), None)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return super(generated, self).forward(*args, **kwargs)
        self.__dict__["_normalised"] = False
        output = super(generated, self).forward(*args, **kwargs)
        if self.training and not self._normalised:
            raise NeedsRuleError(
                f"layer {self._converted_path!r} ({full_name(cls)}) did not normalise by super().forward in training, "
                "so its statistics batch size has no effect; revert the model and register_rule(kind, forward=...)"
            )
        return output

    generated = _derive(cls, (cls, _Watch, ours), forward)
    return generated


class _Watch:
    """Between a subclass and our layer: notes that ours was reached."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            self.__dict__["_normalised"] = True
        return super().forward(*args, **kwargs)  # type: ignore[misc]


def _derive(cls: type, bases: tuple[type, ...], forward: Callable[..., Any] | None) -> type[DialBatchNorm]:
    namespace: dict[str, Any] = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__reduce_ex__": _reduce,
        "_original": cls,
    }
    if forward is not None:
        namespace["forward"] = forward
    generated: type[DialBatchNorm] = type(cls.__name__, bases, namespace)

    def extra_repr(self: Any) -> str:
        shown: str = super(generated, self).extra_repr()
        own = f"statistics_batch_size={self.statistics_batch_size}"  # where the class's own text leaves it out
        return shown if "statistics_batch_size=" in shown else ", ".join(filter(None, (shown, own)))

    generated.extra_repr = extra_repr  # type: ignore[method-assign]
    return generated


def _reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
    """Pickle by the original class: a generated one cannot be imported."""
    reduced = object.__reduce_ex__(self, max(int(protocol), 2))
    return (_new, (type(self)._original,), *reduced[2:])


def _new(cls: type[nn.Module]) -> nn.Module:
    generated = converted_class(cls, cls.__name__)
    return generated.__new__(generated)
