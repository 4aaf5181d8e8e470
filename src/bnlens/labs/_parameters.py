"""The parameters of a lab, each declared once: the form of the page, its API and the command line follow from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

__all__ = [
    "BATCH_SIZE",
    "RUNS",
    "UNIT",
    "Choice",
    "Option",
    "Parameter",
    "Real",
    "Reference",
    "Value",
    "Whole",
    "matches",
    "optional_zeta",
    "simulation",
    "sizes",
    "switch",
    "value_text",
]

Value = str | int | float | None


@dataclass(frozen=True)
class Option:
    """How the command line asks for a parameter; it has no range there but the library's own.

    Attributes:
        help: a sentence.
        metavar: stands for the value in the help text.
        default: the default, where it is another than the form's; None if it need not be given.
        shown: text for the default in the help text; "" shows the default itself, False none.
        name: without dashes, where it is another than the parameter's.
        short: a second name, with its dash.
        minimum: the smallest whole number taken.
        argument: whether it is an argument without a name.
        numbers: whether it takes a list of numbers or a range.
        only: values of the lab's first parameter with which it has a meaning; it is refused with others.
        needed: whether it must be given with them.
        refusal: the end of the sentence that refuses it.
    """

    help: str
    metavar: str | None = None
    default: Any = ...
    _: KW_ONLY
    shown: str | bool = ""
    name: str = ""
    short: str = ""
    minimum: int | None = None
    argument: bool = False
    numbers: bool = False
    only: tuple[str, ...] = ()
    needed: bool = False
    refusal: str = "has no meaning for {}; leave it out"


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: its name in addresses, in the API and, with dashes, on the command line.
        label: its name in the form.
        default: its value unless another is given.
        symbol: its symbol in formulas, if it has one.
        help: a few words under the field.
        when: other parameters and the values at which this one matters; it is hidden, and its value is the default, elsewhere.
        within: the ranges of a number by another parameter and its value, where they are narrower than its own.
        group: heading under which the form shows it.
        option: how the command line asks for it; None if it does not.
    """

    name: str
    label: str
    default: Any
    _: KW_ONLY
    symbol: str = ""
    help: str = ""
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    within: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    group: str = "Setting"
    option: Option | None = None

    @property
    def range_text(self) -> str:
        """The values that it takes, to follow "must be"."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """Label and symbol."""
        return f"{self.label} {self.symbol}".strip()

    @property
    def problem(self) -> str:
        """The sentence for a value that it does not take.

        >>> Whole("batch_size", "Batch size", 8, 2, 1024, symbol="M").problem
        'Batch size M must be a whole number from 2 to 1,024.'
        """
        return f"{self.title} must be {self.range_text}."

    def matters(self, state: Mapping[str, Value]) -> bool:
        """Return whether the other parameters have values at which this one has an effect."""
        return matches(self.when, state)

    def takes(self, value: Value) -> bool:
        """Return whether a value of the right type is in the range."""
        return True

    def at(self, state: Mapping[str, Any]) -> Parameter:
        """Return it with the range that it has beside the values of the others."""
        return self


@dataclass(frozen=True)
class Choice(Parameter):
    """One of some words; ``options`` has the words with their labels."""

    options: Mapping[str, str]

    @property
    def is_switch(self) -> bool:
        """True for a choice of yes and no."""
        return set(self.options) == {"yes", "no"}

    @property
    def range_text(self) -> str:
        """The words."""
        return f"one of {', '.join(self.options)}"


@dataclass(frozen=True)
class _Number(Parameter):
    minimum: float
    maximum: float

    def takes(self, value: Value) -> bool:
        """Return whether a number is in the range; None is where it may be left empty."""
        return value is None or self.minimum <= float(value) <= self.maximum

    def at(self, state: Mapping[str, Any]) -> Parameter:
        """Return it with the narrowest of its ranges beside the values of the others."""
        ranges = [ranges[state[name]] for name, ranges in self.within.items() if state.get(name) in ranges]
        low, high = zip((self.minimum, self.maximum), *ranges, strict=True)
        return replace(self, minimum=max(low), maximum=min(high))


@dataclass(frozen=True)
class Real(_Number):
    """A number in [minimum, maximum]; with the default None it may be left empty, and ``empty`` says what that means."""

    step: float | None = None
    log: bool = False
    empty: str = ""

    @property
    def range_text(self) -> str:
        """The range."""
        text = f"a number from {self.minimum:,g} to {self.maximum:,g}"
        return f"{text}, or empty ({self.empty})" if self.default is None else text


@dataclass(frozen=True)
class Whole(_Number):
    """A whole number in [minimum, maximum]."""

    log: bool = False

    @property
    def range_text(self) -> str:
        """The range."""
        return f"a whole number from {self.minimum:,} to {self.maximum:,}"


@dataclass(frozen=True)
class Reference(Parameter):
    """The name of something that a library holds, such as a report; empty for none yet."""

    pattern: str
    longest: int = 200

    @property
    def range_text(self) -> str:
        """The names, in words."""
        return f"a name from the list, at most {self.longest} characters"


def matches(wanted: Mapping[str, tuple[str, ...]], state: Mapping[str, Any]) -> bool:
    """Return whether parameters have one of the values that are wanted of each."""
    return all(state.get(name) in values for name, values in wanted.items())


_UNITS = {"linear": "Linear", "relu": "ReLU"}
UNIT = Choice("unit", "Unit", "linear", _UNITS, option=Option("Activation of student and teacher."))
BATCH_SIZE = Option("Samples per step.", "M", short="-M")
RUNS = Option("Independent runs of the simulation.", "N", minimum=2)


def sizes(name: str, label: str, default: int, *numbers: int, **more: Any) -> Choice:
    """Return a choice of sizes N."""
    return Choice(name, label, str(default), {str(number): f"{number:,}" for number in numbers}, **more)


def switch(name: str, label: str, *, default: bool = False, **more: Any) -> Choice:
    """Return a choice of yes and no."""
    return Choice(name, label, "yes" if default else "no", {"no": "no", "yes": "yes"}, **more)


def optional_zeta(minimum: float, **more: Any) -> Real:
    """Return the coefficient of gamma decay, left empty for the paper's."""
    return Real("zeta", "Gamma decay", None, minimum, 2, 0.01, symbol="ζ", empty="the paper's", **more)


def simulation(help: str, *parameters: Parameter, group: str = "Students of finite size") -> tuple[Parameter, ...]:  # noqa: A002
    """Return the switch of a simulation, and after it its parameters and its seed, which matter where it is on."""
    option = Option("Add simulated points with standard errors.")
    seed = Whole("seed", "Seed", 0, 0, 999_999, option=Option("Seed of the simulation.", minimum=0))
    on = {"simulate": ("yes",)}
    rest = (replace(parameter, when=on, group=group) for parameter in (*parameters, seed))
    return (switch("simulate", "Simulate", help=help, group=group, option=option), *rest)


def value_text(value: Value) -> str:
    """Return a value as it stands in an address or in Python: the shortest text that reads back to it.

    >>> value_text(0.7), value_text(1.0), value_text(8), value_text(None)
    ('0.7', '1', '8', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
