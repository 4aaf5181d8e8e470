"""The labs on the page: every state has an address, and a model that checks it for page and API alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from bnlens import labs
from bnlens.labs import Choice, Parameter, Real, Reference, State, StateError, Whole, value_text

__all__ = ["LABS", "Lab"]


class Lab(labs.Lab):
    """A lab with a form, whose state is the query of its address."""

    @classmethod
    def of(cls, lab: labs.Lab) -> Lab:
        """Return a lab's face on the page."""
        return cls(**{field.name: getattr(lab, field.name) for field in dataclasses.fields(lab)})

    @cached_property
    def model(self) -> type[BaseModel]:
        """The state as a pydantic model, which is in the API's schema."""
        fields: dict[str, Any] = {
            parameter.name: (_annotation(parameter), parameter.default) for parameter in self.parameters
        }
        return create_model(f"{self.id.capitalize()}State", __config__=ConfigDict(extra="forbid"), **fields)

    def read(self, query: Mapping[str, str]) -> State:
        """Return the state that a query names; what it does not name is the default.

        Raises:
            StateError: parameters have values that they cannot have.
        """
        try:
            state = self.model.model_validate(dict(query)).model_dump()
        except ValidationError as error:
            raise StateError(self.sentences(error.errors())) from error
        return self.settle(state)

    def sentences(self, errors: Sequence[Any]) -> dict[str, str]:
        """Return pydantic's errors in this project's words, by parameter."""
        known = {parameter.name: parameter.problem for parameter in self.parameters}
        names = [next((str(part) for part in error["loc"] if part not in ("query", "body")), "") for error in errors]
        unknown = "There is no parameter {!r}; there are " + ", ".join(known) + "."
        return {name: known.get(name, unknown.format(name[:60])) for name in names}

    def query(self, state: State) -> str:
        """Return the shortest query that reads back to a settled state, in the order of the parameters.

        >>> gap = LABS[0]
        >>> gap.query(gap.read({"unit": "relu", "gamma": "0.70"}))
        'unit=relu'
        """
        return urlencode({p.name: value_text(state[p.name]) for p in self.parameters if state[p.name] != p.default})

    def path(self, state: State | None = None) -> str:
        """Return the address of the page of a state."""
        return self._address(f"/labs/{self.id}", state)

    def data_path(self, state: State, kind: Literal["csv", "json"] = "json") -> str:
        """Return the address of a state's numbers in the API."""
        return self._address(f"/api/labs/{self.id}{'.csv' if kind == 'csv' else ''}", state)

    def exported(self) -> list[State]:
        """Return the states that a static export has: the default, every choice of the grid, and the examples."""
        grid = [dict(zip(self.grid, values, strict=True)) for values in product(*map(self._offered, self.grid))]
        wanted = [{}, *grid, *(example.state for example in self.examples)]
        states = [self.settle({**self.defaults, **changes}) for changes in wanted]
        return list({self.query(state): state for state in states}.values())

    def neighbours(self, state: State, name: str) -> dict[str, State]:
        """Return the state of the grid at each choice of one parameter, by label."""
        here = {**self.defaults, **{knob: state[knob] for knob in self.grid}}
        return {label: self.settle({**here, name: value}) for value, label in self._offered(name).items()}

    def _offered(self, name: str) -> Mapping[str, str]:
        choice = self.parameter(name)
        return choice.options if isinstance(choice, Choice) else self.options()

    def _address(self, path: str, state: State | None) -> str:
        query = self.query(state) if state is not None else ""
        return f"{path}?{query}" if query else path


def _annotation(parameter: Parameter) -> Any:
    """Return a parameter's type with its bounds, for a pydantic model."""
    kind: Any = str
    bounds: dict[str, Any] = {}
    if isinstance(parameter, Choice):
        kind = Literal[tuple(parameter.options)]
    elif isinstance(parameter, Reference):
        bounds = {"pattern": parameter.pattern, "max_length": parameter.longest}
    elif isinstance(parameter, Whole):
        kind, bounds = int, {"ge": parameter.minimum, "le": parameter.maximum}
    elif isinstance(parameter, Real):
        kind = Annotated[float, Field(ge=parameter.minimum, le=parameter.maximum, allow_inf_nan=False)]
        if parameter.default is None:
            kind = Annotated[kind | None, BeforeValidator(lambda value: None if value == "" else value)]
    return Annotated[kind, Field(title=parameter.title, description=parameter.help or parameter.label, **bounds)]


LABS: tuple[Lab, ...] = tuple(map(Lab.of, labs.LABS))
"""The labs that need nothing but their parameters, in the order of the page."""
