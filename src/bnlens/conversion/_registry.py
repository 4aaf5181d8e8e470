"""Rules: how a layer of some kind is converted. Those of bnlens are in `rules`, one file per kind; users add their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlens._arguments import checked
from bnlens.errors import ConversionError, UsageError

__all__ = ["Rule", "find_rule", "register", "register_rule", "registered", "unregister_rule"]


@dataclass(frozen=True)
class Rule:
    """The treatment of layers of a kind, and of its subclasses; at most one of the first three after the kind is set.

    Attributes:
        kind: the class, or its full name (``"timm.layers.norm_act.BatchNormAct2d"``), which spares the import.
        layer_class: class that the layer takes on: a subclass of ``kind`` and of the layers of `bnlens.nn`.
        forward: the layer's forward, given the normalisation; see `register_rule`.
        to: builds the replacement, with `back` the way back; see `register_rule`.
        back: see ``to``.
        refusal: class of the error for layers that cannot be converted, and what it says of them.
    """

    kind: type[nn.Module] | str
    layer_class: type[nn.Module] | None = None
    forward: Callable[..., Any] | None = None
    to: Callable[[Any], nn.Module] | None = None
    back: Callable[[Any], nn.Module] | None = None
    refusal: tuple[type[ConversionError], str] | None = None

    @property
    def name(self) -> str:
        """Full name of the kind."""
        return self.kind if isinstance(self.kind, str) else full_name(self.kind)


_RULES: dict[str, Rule] = {}


def full_name(cls: type) -> str:
    """Return the module and qualified name of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def register(rule: Rule) -> None:
    """Add a rule; it takes the place of an earlier one for the same kind."""
    _RULES[rule.name] = rule


def registered(name: str) -> Rule | None:
    """Return the rule for the kind of this full name."""
    return _RULES.get(name)


def find_rule(cls: type) -> tuple[type[nn.Module], Rule] | None:
    """Return the nearest kind among a class and its bases, in the order of method resolution, and its rule."""
    for base in cls.__mro__:
        rule = _RULES.get(full_name(base))
        if rule is not None and (isinstance(rule.kind, str) or rule.kind is base):
            return base, rule
    return None


@checked
def register_rule(
    kind: type[nn.Module] | str,
    *,
    forward: Callable[..., Any] | None = None,
    to: Callable[[Any], nn.Module] | None = None,
    back: Callable[[Any], nn.Module] | None = None,
) -> None:
    """Tell `convert` and `revert` how to treat a kind of layer and its subclasses.

    ``kind`` is the class, or its full name as a string, which spares importing it.

    Two forms. For a *subclass of torch's BN* whose ``forward`` does something else as well, and does not reach the
    normalisation by ``super().forward``, give ``forward(layer, normalise, *args)``: what the layer's forward does, with
    ``normalise(x)`` in the place of batch normalization. The layer stays the same object.

    For *any other layer*, give ``to`` and ``back``: ``to(layer)`` returns a module that is, or contains, a layer of
    `bnlens.nn`, ``back(module)`` the way back; neither may change its argument. Hand the same ``Parameter`` objects on where
    you can. Where you cannot, keep their names and shapes, and users pass their optimizer to `convert`, which puts the new
    parameters in the places of the old, state included. `convert` carries over the mode, and hooks on forward and backward.
    Attributes that hold the layer other than as a submodule, such as lists, are not seen.

    Rules are found by the nearest base class; a second rule for a kind takes the place of the first. A model that was
    converted by a rule needs it again to be reverted, and with ``forward`` also to be unpickled.

    Raises:
        UsageError: neither form is given, or both; or ``forward`` is given for a class that is no subclass of torch's BN.

    Example:
        >>> import torch, bnlens
        >>> from bnlens.conversion import register_rule, unregister_rule
        >>> class ScaledBatchNorm(torch.nn.BatchNorm1d):
        ...     def forward(self, input):
        ...         y = torch.nn.functional.batch_norm(
        ...             input, self.running_mean, self.running_var, training=self.training, momentum=0.1
        ...         )
        ...         return 2 * y
        >>> register_rule(ScaledBatchNorm, forward=lambda layer, normalise, x: 2 * normalise(x))
        >>> model = bnlens.convert(torch.nn.Sequential(ScaledBatchNorm(3)), statistics_batch_size=4)
        >>> model(torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 7.0]])).square().mean().round().item()
        4.0
        >>> type(bnlens.revert(model)[0]) is ScaledBatchNorm
        True
        >>> unregister_rule(ScaledBatchNorm)
    """
    name = kind if isinstance(kind, str) else full_name(kind)
    if (forward is None) == (to is None) or (to is None) != (back is None):
        raise UsageError(f"the rule for {name} must have either forward, or both to and back")
    if forward is not None and inspect.isclass(kind) and not issubclass(kind, _BatchNorm):
        raise UsageError(
            f"{name} is no subclass of torch's batch normalization, so a rule with forward cannot convert it; give to and back"
        )
    register(Rule(kind, forward=forward, to=to, back=back))


@checked
def unregister_rule(kind: type[nn.Module] | str) -> None:
    """Remove the rule for a kind; raise UsageError where there is none."""
    name = kind if isinstance(kind, str) else full_name(kind)
    if _RULES.pop(name, None) is None:
        raise UsageError(
            f"there is no rule for {name}; rules are removed by the class or name they were registered for"
        )
