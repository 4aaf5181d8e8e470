"""The kinds of commands: they turn what a user can cause into one sentence and an exit code, and hint at names meant."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bnlens._names import did_you_mean
from bnlens.cli._flags import in_flags
from bnlens.cli._outputs import cannot_write
from bnlens.errors import BnlensError, UsageError

__all__ = ["INTERRUPTED", "Command", "Group", "fail", "new_group"]

INTERRUPTED = 130  # what shells expect of a program ended by Ctrl-C
_MISTAKE = 2
_LARGEST, _LAST_SEED = 2**31 - 1, 2**63 - 1
_ParserError: type[Exception] = typer.BadParameter.__mro__[2]  # ClickException, of click or of typer's copy of it


class _InFull:
    """Help of a command among others: its first sentence, wrapped in place of cut."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return it, whatever the limit."""
        text: str = super().get_short_help_str(10 * limit)  # type: ignore[misc]
        return text


class Command(_InFull, TyperCommand):
    """A verb, or a subcommand of one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments: none is empty, as an unset variable of a shell makes it, no number more than torch takes."""
        for before, given in itertools.pairwise(["", *args]):
            if not given or (given.startswith("--") and given.endswith("=")):
                name = given[:-1] or (before if before.startswith("-") else "an argument")
                raise UsageError(f"{name} is empty; give a value, or leave it out")
        rest: list[str] = super().parse_args(ctx, args)
        for param in self.params:
            given, most = ctx.params.get(str(param.name)), _LAST_SEED if param.name == "seed" else _LARGEST
            if any(
                isinstance(value, int) and value > most for value in (given if isinstance(given, list) else [given])
            ):
                raise UsageError(f"{max(param.opts, key=len)} must be at most {most:,}")
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run it; an error that the user can mend is told in the words of the command line."""
        try:
            return super().invoke(ctx)
        except BnlensError as error:
            fail(in_flags(str(error), self.params))
        except MemoryError:
            fail("there is not enough memory; choose smaller sizes")
        except KeyboardInterrupt as interrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from interrupt


class Group(_InFull, TyperGroup):
    """A verb with subcommands, or all verbs."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the subcommand named first, or say which was meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            hint = did_you_mean(name, self.list_commands(ctx), _see(ctx))
            raise UsageError(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line and, unless ``standalone_mode`` is False, end the process with its exit code."""
        ends = options.pop("standalone_mode", True)
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except BnlensError as error:
            code = _told(str(error))
        except typer.Abort:
            code = _told("there is no terminal to answer at; give --yes")
        except OSError as error:
            code = _told(f"{cannot_write(error)}; send it to a place with room")
        except _ParserError as error:
            code = _told_of_arguments(error)
        if ends:
            sys.exit(code)
        return code


def new_group(**options: Any) -> typer.Typer:
    """Return a group of commands in the look of bnlens."""
    return typer.Typer(
        cls=Group,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # boxes cut the names of long options on a terminal of 80 columns
        context_settings={"help_option_names": ["-h", "--help"]},
        **{"add_completion": False, **options},
    )


def fail(sentence: str) -> Any:
    """Print a sentence about a mistake on standard error and end the command."""
    raise typer.Exit(_told(sentence))


def _told(sentence: str) -> int:
    typer.echo(f"Error: {' '.join(sentence.split())}", err=True)
    return _MISTAKE


def _told_of_arguments(error: Any) -> int:
    """Print what is wrong with the arguments: one sentence with the fix, or the help where none were given."""
    context, message = error.ctx, error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(message)
        return _MISTAKE
    see, message = _see(context), message.strip().rstrip(".")
    if type(error).__name__ == "NoSuchOption":
        known = [flag for param in context.command.get_params(context) for flag in (*param.opts, *param.secondary_opts)]
        hint = did_you_mean(error.option_name, [flag for flag in known if flag.startswith("-")], see)
        return _told(f"there is no option {error.option_name!r}; {hint}")
    if (parameter := getattr(error, "param", None)) is not None and message.startswith("Invalid value"):
        reason = error.message.strip().rstrip(".").removeprefix("Value error, ")
        must = f" must{reason.removeprefix('Input should')}" if reason.startswith("Input should") else f": {reason}"
        return _told(f"{max(parameter.opts, key=len)}{must}; {see}")
    return _told(f"{message[:1].lower()}{message[1:]}; {see}")


def _see(context: Any) -> str:
    return "see bnlens --help" if context is None else f"see {context.command_path} --help"
