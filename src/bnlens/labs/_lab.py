"""A lab: a question, its parameters, and functions from their values to numbers, a figure and words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from bnlens._progress import Counter
from bnlens.errors import UsageError
from bnlens.labs._parameters import Choice, Parameter, Value, matches
from bnlens.labs._result import Result, Table

__all__ = ["Command", "Example", "IncompleteError", "Lab", "State", "StateError", "Step"]

State = Mapping[str, Any]
"""The value of every parameter by name."""


class StateError(UsageError):
    """Parameters have values that they cannot have; ``problems`` has one sentence for each, by name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__(" ".join(self.problems.values()))


class IncompleteError(UsageError):
    """A choice is still to be made; ``suggestion`` has one that can be taken for the reader."""

    def __init__(self, sentence: str, suggestion: Mapping[str, Value] | None = None) -> None:
        self.suggestion = dict(suggestion or {})
        super().__init__(sentence)


class Step(NamedTuple):
    """One or two sentences, with formulas in LaTeX between dollar signs, and a formula of its own in LaTeX, or alone."""

    words: str
    latex: str = ""


class Example(NamedTuple):
    """A state worth seeing: the text of its link, the parameters that differ from their defaults, a sentence about it."""

    label: str
    state: Mapping[str, Value]
    words: str


@dataclass(frozen=True)
class Command:
    """A lab on the command line, where a parameter with ``numbers`` has a list of them.

    ``help`` says in a sentence or two what is printed; ``tabulate`` makes it from a state and a progress counter.
    """

    help: str
    tabulate: Callable[[State, Counter], Table]


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A question with parameters and an answer.

    Attributes:
        id: its name in addresses and on the command line.
        title: heading.
        question: one sentence.
        parameters: in the order of the form.
        compute: from a state to the result; raises `UsageError` where the library does.
        formulas: the theory behind the numbers.
        examples: states to try.
        source: where the theory is, in words.
        command: the lab on the command line, if it is there.
        check: problems that lie in two parameters together, by the name of the one at which to say so.
        grid: parameters whose choices a static export computes in advance.
        stamp: changes whenever the answer to the same state does, as for a state that names a file.
        options: the names that a `Reference` offers, with labels.
        lacking: options by the name of their `Choice`, which a state that has an answer cannot be given.
        receives: whether readers may send it a report.
    """

    id: str
    title: str
    question: str
    parameters: Sequence[Parameter]
    compute: Callable[[State], Result]
    formulas: Sequence[Step]
    examples: Sequence[Example]
    source: str
    command: Command | None = None
    check: Callable[[State], Mapping[str, str]] = lambda state: {}
    grid: Sequence[str] = ()
    stamp: Callable[[State], Hashable] = lambda state: None
    options: Callable[[], Mapping[str, str]] = field(default=dict)
    lacking: Callable[[State], Mapping[str, Collection[str]]] = lambda state: {}
    receives: bool = False

    slow: ClassVar[Mapping[str, tuple[str, ...]]] = {"simulate": ("yes",)}
    """Parameters and the values at which an answer takes many seconds; elsewhere it takes a fraction of one."""

    @cached_property
    def defaults(self) -> State:
        """The state with every parameter at its default."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def parameter(self, name: str) -> Parameter:
        """Return the parameter of that name."""
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def label(self, name: str, state: State) -> str:
        """Return the label of the option that a `Choice` of that name has in a state."""
        parameter = self.parameter(name)
        return parameter.options[state[name]] if isinstance(parameter, Choice) else ""

    def is_slow(self, state: State) -> bool:
        """Return whether the answer takes many seconds."""
        return matches(self.slow, state)

    def settle(self, state: State) -> State:
        """Return a valid state with every parameter that has no effect at its default.

        Raises:
            StateError: two parameters do not go together, or one is out of the range that another gives it.
        """
        settled = {p.name: state[p.name] if p.matters(state) else p.default for p in self.parameters}
        own = (p.at(settled) for p in self.parameters)
        problems = {p.name: p.problem for p in own if not p.takes(settled[p.name])} or self.check(settled)
        if problems:
            raise StateError(problems)
        return settled
