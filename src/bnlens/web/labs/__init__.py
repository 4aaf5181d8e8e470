"""The labs, one file each: a question, its knobs, a function from knobs to figure and numbers, words."""

from __future__ import annotations

from bnlens.web.labs import dynamics, gap, generalization, rates
from bnlens.web.labs._lab import Cost, Example, IncompleteError, Lab, NotFoundError, State, StateError, Step
from bnlens.web.labs._parameters import Choice, Parameter, Real, Reference, Whole, switch, value_text
from bnlens.web.labs._result import Headline, Result, plain

__all__ = [
    "LABS",
    "Choice",
    "Cost",
    "Example",
    "Headline",
    "IncompleteError",
    "Lab",
    "NotFoundError",
    "Parameter",
    "Real",
    "Reference",
    "Result",
    "State",
    "StateError",
    "Step",
    "Whole",
    "plain",
    "switch",
    "value_text",
]

LABS: tuple[Lab, ...] = (gap.LAB, dynamics.LAB, rates.LAB, generalization.LAB)
"""The labs that need nothing but their knobs, in the order of the page; `network.make_lab` makes the one over reports."""
