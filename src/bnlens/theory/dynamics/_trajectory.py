"""Order parameters along training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnlens.theory._check import FloatArray

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from bnlens.theory.dynamics._system import System

__all__ = ["COLUMNS", "Trajectory"]

COLUMNS = {"gamma": "gamma", "R": "overlap R", "L": "norm L", "generalization_error": "generalization error"}
"""The order parameters by field, with the words for a figure."""


@dataclass(frozen=True)
class Trajectory:
    """The order parameters of one student at some times, N -> infinity.

    Attributes:
        system: what was solved, with its rates and sizes.
        tau: (T,), time in steps per weight, tau = steps / N.
        gamma: (T,), output scale.
        R: (T,), overlap w . w* / (|w| |w*|) of student and teacher.
        L: (T,), norm |w| / sqrt(N) of the weights.
        generalization_error: (T,), E[(clean label - output)^2] / 2 with population statistics. Errors against noisy labels
            are higher by half the label noise.
    """

    system: System
    tau: FloatArray
    gamma: FloatArray
    R: FloatArray
    L: FloatArray
    generalization_error: FloatArray

    @property
    def effective_learning_rate(self) -> FloatArray:
        """(T,), eta gamma / L^2: the learning rate that turns the weights of norm one as fast."""
        return self.system.learning_rate * self.gamma / self.L**2

    def to_frame(self) -> pd.DataFrame:
        """Return one row per time, indexed by tau, one column per order parameter."""
        import pandas as pd

        columns = {name: getattr(self, name) for name in COLUMNS}
        return pd.DataFrame(columns, index=pd.Index(self.tau, name="tau"))

    def plot(self) -> Figure:
        """Return a Plotly figure of the order parameters over tau; a page of bnlens gives it the common look."""
        import plotly.graph_objects as go

        figure = go.Figure(layout={"xaxis_title_text": "tau = steps / N", "yaxis_title_text": "order parameter"})
        for name, label in COLUMNS.items():
            figure.add_scatter(x=self.tau, y=getattr(self, name), mode="lines", name=label)
        return figure
