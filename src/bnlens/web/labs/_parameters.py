"""The knobs of a lab: each says what it may be, and the page, the API and its schema follow from that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

__all__ = ["Choice", "Parameter", "Real", "Reference", "Value", "Whole", "switch", "value_text"]

Value = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Parameter(ABC):
    """One knob.

    Attributes:
        name: its name in addresses and in the API.
        label: what the form calls it.
        symbol: its symbol in formulas, if it has one.
        help: a few words under the field.
        when: other knobs and the values at which this one matters; it is hidden, and its value is the default, elsewhere.
        group: heading under which the form shows it.
    """

    name: str
    label: str
    symbol: str = ""
    help: str = ""
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group: str = "Setting"

    @property
    @abstractmethod
    def start(self) -> Value:
        """The default."""

    @abstractmethod
    def annotation(self) -> Any:
        """Type with its bounds, for a pydantic model."""

    @property
    @abstractmethod
    def range_text(self) -> str:
        """What it may be, after "must be"."""

    @property
    def title(self) -> str:
        """Label and symbol."""
        return f"{self.label} {self.symbol}".strip()

    @property
    def problem(self) -> str:
        """The sentence that says what it may be.

        >>> Whole(name="batch_size", label="Batch size", symbol="M", default=8, minimum=2, maximum=1024).problem
        'Batch size M must be a whole number from 2 to 1,024.'
        """
        return f"{self.title} must be {self.range_text}."

    def matters(self, state: Mapping[str, Value]) -> bool:
        """Whether the other knobs stand so that this one has an effect."""
        return all(state.get(name) in values for name, values in self.when.items())

    def _field(self, **bounds: Any) -> Any:
        return Field(title=self.title, description=self.help or self.label, **bounds)


@dataclass(frozen=True, kw_only=True)
class Choice(Parameter):
    """One of some words; ``options`` has the words with their labels."""

    default: str
    options: Mapping[str, str]

    @property
    def start(self) -> Value:
        """The default."""
        return self.default

    @property
    def range_text(self) -> str:
        """The words."""
        return f"one of {', '.join(self.options)}"

    def annotation(self) -> Any:
        """A literal type."""
        return Annotated[Literal[tuple(self.options)], self._field()]


@dataclass(frozen=True, kw_only=True)
class Real(Parameter):
    """A number in [minimum, maximum]; with the default None it may be left empty, and ``empty`` says what that means."""

    default: float | None
    minimum: float
    maximum: float
    step: float | None = None
    log: bool = False
    empty: str = ""

    @property
    def start(self) -> Value:
        """The default."""
        return self.default

    @property
    def range_text(self) -> str:
        """The range."""
        text = f"a number from {self.minimum:,g} to {self.maximum:,g}"
        return f"{text}, or empty ({self.empty})" if self.default is None else text

    def annotation(self) -> Any:
        """A float with bounds."""
        kind = Annotated[float, Field(ge=self.minimum, le=self.maximum, allow_inf_nan=False)]
        return Annotated[kind | None if self.default is None else kind, self._field()]


@dataclass(frozen=True, kw_only=True)
class Whole(Parameter):
    """A whole number in [minimum, maximum]."""

    default: int
    minimum: int
    maximum: int
    log: bool = False

    @property
    def start(self) -> Value:
        """The default."""
        return self.default

    @property
    def range_text(self) -> str:
        """The range."""
        return f"a whole number from {self.minimum:,} to {self.maximum:,}"

    def annotation(self) -> Any:
        """An integer with bounds."""
        return Annotated[int, self._field(ge=self.minimum, le=self.maximum)]


@dataclass(frozen=True, kw_only=True)
class Reference(Parameter):
    """The name of something the server holds, such as a report; empty for none yet."""

    pattern: str
    longest: int = 200

    @property
    def start(self) -> Value:
        """Nothing chosen."""
        return ""

    @property
    def range_text(self) -> str:
        """What a name looks like."""
        return f"a name from the list, at most {self.longest} characters"

    def annotation(self) -> Any:
        """A string with a pattern."""
        return Annotated[str, self._field(pattern=self.pattern, max_length=self.longest)]


def switch(*, name: str, label: str, default: bool = False, **more: Any) -> Choice:
    """Return a choice of yes and no."""
    return Choice(
        name=name, label=label, default="yes" if default else "no", options={"no": "no", "yes": "yes"}, **more
    )


def value_text(value: Value) -> str:
    """Return a value as it stands in an address: the shortest text that reads back to it.

    >>> value_text(0.7), value_text(1.0), value_text(8), value_text(None)
    ('0.7', '1', '8', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
