"""What a lab is: knobs, a computation, words; its state lives in an address."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from bnlens.errors import UsageError
from bnlens.web.labs._parameters import Choice, Parameter, Value, value_text
from bnlens.web.labs._result import Result

__all__ = ["Cost", "Example", "IncompleteError", "Lab", "NotFoundError", "State", "StateError", "Step"]

State = Mapping[str, Any]
"""The value of every knob by name."""

Cost = Literal["instant", "short", "long"]
"""instant: milliseconds, answered by a thread; short: about a second; long: many seconds; the last two in a worker process."""


class StateError(UsageError):
    """Knobs have values that they cannot have; ``problems`` has one sentence for each, by name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__(" ".join(self.problems.values()))


class IncompleteError(UsageError):
    """Nothing is wrong, but a choice is still to be made; ``suggestion`` has one that can be taken for the reader."""

    def __init__(self, sentence: str, suggestion: Mapping[str, Value] | None = None) -> None:
        self.suggestion = dict(suggestion or {})
        super().__init__(sentence)


class NotFoundError(UsageError):
    """A name stands for nothing that the server holds."""


@dataclass(frozen=True)
class Step:
    """A formula with the words that go with it.

    Attributes:
        words: one or two sentences.
        latex: the formula; empty for words alone.
    """

    words: str
    latex: str = ""


@dataclass(frozen=True)
class Example:
    """A state worth seeing.

    Attributes:
        label: the link's text.
        state: knobs that differ from their defaults.
        words: what one sees there.
    """

    label: str
    state: Mapping[str, Value]
    words: str


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A question with knobs and an answer.

    Attributes:
        id: its name in addresses.
        title: heading.
        question: what it answers, one sentence.
        parameters: knobs in the order of the form.
        compute: from a state to the result; raises `UsageError` where the library does.
        formulas: what is computed.
        examples: what to try.
        source: where the theory is, in words.
        cost: how long a state takes.
        check: problems that lie in two knobs together, by the name of the knob at which to say so.
        grid: knobs whose choices a static export computes in advance.
        stamp: changes whenever the answer to the same state does, as for a state that names a file.
        options: the names that a `Reference` offers, with labels.
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
    cost: Callable[[State], Cost] = lambda state: "instant"
    check: Callable[[State], Mapping[str, str]] = lambda state: {}
    grid: Sequence[str] = ()
    stamp: Callable[[State], Hashable] = lambda state: None
    options: Callable[[], Mapping[str, str]] = field(default=dict)
    receives: bool = False

    @cached_property
    def model(self) -> type[BaseModel]:
        """The state as a pydantic model: it checks the states of page and API alike and is in the API's schema."""
        fields: dict[str, Any] = {p.name: (p.annotation(), p.start) for p in self.parameters}
        return create_model(f"{self.id.capitalize()}State", __config__=ConfigDict(extra="forbid"), **fields)

    @cached_property
    def defaults(self) -> State:
        """The state without a query."""
        return {parameter.name: parameter.start for parameter in self.parameters}

    def parameter(self, name: str) -> Parameter:
        """Return the knob of that name."""
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def read(self, query: Mapping[str, str]) -> State:
        """Return the state that a query names; what it does not name is the default, empty fields included.

        Raises:
            StateError: knobs have values that they cannot have.
        """
        given = {name: text for name, text in query.items() if text != ""}
        try:
            state = self.model.model_validate(given).model_dump()
        except ValidationError as error:
            raise StateError(self.sentences(error.errors())) from error
        return self.settle(state)

    def settle(self, state: State) -> State:
        """Return a valid state with every knob that has no effect at its default.

        Raises:
            StateError: two knobs do not go together.
        """
        settled = {p.name: state[p.name] if p.matters(state) else p.start for p in self.parameters}
        problems = self.check(settled)
        if problems:
            raise StateError(problems)
        return settled

    def sentences(self, errors: Sequence[Any]) -> dict[str, str]:
        """Return pydantic's errors in this project's words, by knob."""
        known = {parameter.name: parameter.problem for parameter in self.parameters}
        problems: dict[str, str] = {}
        for error in errors:
            name = next((str(part) for part in error["loc"] if part not in ("query", "body")), "")
            unknown = f"There is no parameter {name[:60]!r}; there are {', '.join(known)}."
            problems[name] = known.get(name, unknown)
        return problems

    def query(self, state: State) -> str:
        """Return the shortest query that reads back to a settled state, in the order of the knobs.

        >>> from bnlens.web.labs import gap
        >>> gap.LAB.query(gap.LAB.read({"unit": "relu", "gamma": "0.70"}))
        'unit=relu'
        """
        return urlencode({p.name: value_text(state[p.name]) for p in self.parameters if state[p.name] != p.start})

    def path(self, state: State | None = None) -> str:
        """Return the address of the page of a state."""
        return _with_query(f"/labs/{self.id}", self.query(state) if state is not None else "")

    def data_path(self, state: State, kind: Literal["csv", "json"] = "json") -> str:
        """Return the address of a state's numbers in the API."""
        return _with_query(f"/api/labs/{self.id}{'.csv' if kind == 'csv' else ''}", self.query(state))

    def exported(self) -> list[State]:
        """Return the states that a static export has: the default, every choice of the grid, and the examples."""
        grid = [dict(zip(self.grid, values, strict=True)) for values in product(*map(self._offered, self.grid))]
        wanted = [{}, *grid, *(example.state for example in self.examples)]
        states = [self.settle({**self.defaults, **changes}) for changes in wanted]
        return list({self.query(state): state for state in states}.values())

    def neighbours(self, state: State, name: str) -> dict[str, State]:
        """Return the state of the grid at each choice of one knob, by label."""
        here = {**self.defaults, **{knob: state[knob] for knob in self.grid}}
        return {label: self.settle({**here, name: value}) for value, label in self._offered(name).items()}

    def _offered(self, name: str) -> Mapping[str, str]:
        choice = self.parameter(name)
        return choice.options if isinstance(choice, Choice) else self.options()


def _with_query(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path
