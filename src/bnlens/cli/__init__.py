"""The command line: one file per verb, none of which loads torch before it needs it."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bnlens.errors import BnlensError

__all__ = ["main"]

INTERRUPTED = 130  # what shells expect of a program ended by Ctrl-C
_VERBS = ("report", "reproduce", "runs", "theory", "serve", "cite")
"""bnlens.cli.<verb> defines <verb>_command, or <verb>_app for a group."""


class _Verbs(TyperGroup):
    """Loads a verb when it is asked for; turns what a user can cause into one sentence and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"bnlens.cli.{cmd_name}")
        if hasattr(module, f"{cmd_name}_app"):
            return typer.main.get_command(getattr(module, f"{cmd_name}_app")())
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(cmd_name)(getattr(module, f"{cmd_name}_command"))
        return typer.main.get_command(app)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BnlensError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as interrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from interrupt


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 a computation failed, 2 a mistake in the arguments, the data or the model, 130 interrupted.
    """
    try:
        _app()(prog_name="bnlens")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _app() -> typer.Typer:
    app = typer.Typer(
        cls=_Verbs,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # boxes cut the names of long options on a terminal of 80 columns
    )
    app.callback()(_bnlens)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        import bnlens

        typer.echo(f"bnlens {bnlens.__version__}")
        raise typer.Exit


def _bnlens(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """See how much batch normalization regularises a network, and what it will be at another batch size."""
