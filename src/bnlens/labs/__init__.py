"""The labs, one file each: a question, its parameters, the numbers and the figure that answer it, the Python that gives them.

The page and `bnlens theory` are two faces of them: both take the parameters, with ranges, defaults and help, from here.
"""

from __future__ import annotations

from bnlens.labs import dynamics, gap, generalization, rates
from bnlens.labs._lab import Command, IncompleteError, Lab, State, StateError
from bnlens.labs._parameters import Choice, Option, Parameter, Real, Reference, Whole, value_text
from bnlens.labs._result import Result, Table

__all__ = [
    "LABS",
    "Choice",
    "Command",
    "IncompleteError",
    "Lab",
    "Option",
    "Parameter",
    "Real",
    "Reference",
    "Result",
    "State",
    "StateError",
    "Table",
    "Whole",
    "value_text",
]

LABS: tuple[Lab, ...] = (gap.LAB, dynamics.LAB, rates.LAB, generalization.LAB)
"""The labs that need nothing but their parameters; `network.make_lab` makes the one over saved reports."""
