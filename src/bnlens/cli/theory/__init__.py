"""``bnlens theory``: learning dynamics, learning rates and learning curves, each beside a simulation if asked for."""

from __future__ import annotations

import typer

from bnlens.cli.theory.dynamics import dynamics_command
from bnlens.cli.theory.generalization import generalization_command
from bnlens.cli.theory.rates import rates_command

__all__ = ["theory_app"]


def theory_app() -> typer.Typer:
    """Return the verb with its three subcommands."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    app.command("dynamics")(dynamics_command)
    app.command("rates")(rates_command)
    app.command("generalization")(generalization_command)
    app.callback()(_theory)
    return app


def _theory() -> None:
    """Learning dynamics, learning rates and generalization of one unit, from closed forms and equations.

    Tables go to standard output, as CSV or JSON.
    """
