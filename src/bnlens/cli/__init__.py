"""The command line: one file per verb, none of which loads torch before it needs it."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer

from bnlens.cli._commands import INTERRUPTED, Command, Group, new_group

__all__ = ["main"]

_VERBS = ("report", "reproduce", "runs", "theory", "serve", "cite")
"""bnlens.cli.<verb> defines <verb>_command, or <verb>_app for a group."""


class _Verbs(Group):
    """Loads a verb when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"bnlens.cli.{cmd_name}")
        if hasattr(module, f"{cmd_name}_app"):
            return typer.main.get_command(getattr(module, f"{cmd_name}_app")())
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(cmd_name, cls=Command)(getattr(module, f"{cmd_name}_command"))
        return typer.main.get_command(app)


def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 a computation failed, 2 a mistake in the arguments, the data or the model, 130 interrupted.
    """
    try:
        _app()(prog_name="bnlens")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _app() -> typer.Typer:
    app = new_group(add_completion=True)
    app.callback(cls=_Verbs)(_bnlens)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        import bnlens

        typer.echo(f"bnlens {bnlens.__version__}")
        raise typer.Exit


def _bnlens(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """See how much batch normalization regularises a network, and what it will be at another batch size."""
