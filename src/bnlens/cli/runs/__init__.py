"""``bnlens runs``: what the results file of a folder holds."""

from __future__ import annotations

import typer

from bnlens.cli.runs.export import export_command
from bnlens.cli.runs.list import list_command
from bnlens.cli.runs.remove import remove_command
from bnlens.cli.runs.show import show_command

__all__ = ["runs_app"]


def runs_app() -> typer.Typer:
    """Return the verb with its four subcommands."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    app.command("list")(list_command)
    app.command("show")(show_command)
    app.command("export")(export_command)
    app.command("remove")(remove_command)
    app.callback()(_runs)
    return app


def _runs() -> None:
    """List, show, export and remove the stored jobs of `bnlens reproduce`."""
