"""``bnlens theory``: the labs on the command line, one subcommand each, with a table on standard output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from inspect import Parameter as Argument
from inspect import Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from bnlens._progress import counter
from bnlens.cli.theory._output import OutputFormat, check_plot, parse_numbers, print_table, write_plot
from bnlens.errors import UsageError
from bnlens.labs import LABS, Choice, Command, Lab, Option, Parameter, Whole

__all__ = ["theory_app"]

_OUTPUT = (
    ("form", OutputFormat, typer.Option("--format", help="What to print on standard output."), OutputFormat.csv),
    (
        "plot",
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write a figure, .html or .png."),
        None,
    ),
)


def theory_app() -> typer.Typer:
    """Return the verb with a subcommand for each lab that has one."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)
    for lab in LABS:
        if lab.command is not None:
            app.command(lab.id, help=lab.command.help)(_function(lab, lab.command))
    app.callback()(_theory)
    return app


def _theory() -> None:
    """Learning dynamics, learning rates and generalization of one unit, from closed forms and equations.

    Tables go to standard output, as CSV or JSON.
    """


def _function(lab: Lab, command: Command) -> Callable[..., None]:
    """Return the function of a subcommand; typer makes its options from the signature."""

    def run(form: OutputFormat, plot: Path | None, **given: Any) -> None:
        check_plot(plot)
        state = _state(lab, given)
        with counter("simulating") as progress:
            table = command.tabulate(state, progress)
        print_table(table, form)
        if plot is not None:
            write_plot(table.draw(), plot, table.title, table.words)

    asked = [_argument(parameter, parameter.option) for parameter in lab.parameters if parameter.option is not None]
    arguments = [
        Argument(name, Argument.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        for name, kind, option, default in (*asked, *_OUTPUT)
    ]
    run.__annotations__ = {argument.name: argument.annotation for argument in arguments}
    run.__signature__ = Signature(arguments)  # type: ignore[attr-defined]
    return run


def _argument(parameter: Parameter, option: Option) -> tuple[str, Any, Any, Any]:
    """Return name, type, typer's option and default of a parameter."""
    default = parameter.default if option.default is ... else option.default
    names = [f"--{option.name or parameter.name.replace('_', '-')}", *([option.short] if option.short else [])]
    words: dict[str, Any] = {"help": option.help, "metavar": option.metavar, "min": option.minimum}
    kind: Any = float
    if option.numbers:
        kind = str
    elif isinstance(parameter, Choice) and parameter.is_switch:
        kind, default = bool, False
    elif isinstance(parameter, Whole) or isinstance(option.default, int):
        kind = int
    elif isinstance(parameter, Choice):
        make_enum: Any = Enum  # the type checker knows enumerations of literal names alone
        kind = make_enum(parameter.name, {value: value for value in parameter.options}, type=str)
        default = None if default is None else kind(default)
    if default is None:
        kind, words["show_default"] = kind | None, option.shown
    if option.argument:
        return parameter.name, kind, typer.Argument(help=option.help), default
    return parameter.name, kind, typer.Option(*names, **words), default


def _state(lab: Lab, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a lab that options name.

    Raises:
        UsageError: an option is missing, or has no meaning beside the first argument, or is no list of numbers.
    """
    state = {**lab.defaults, **{name: _value(value) for name, value in given.items()}}
    first = state[lab.parameters[0].name]
    options = [(p.name, f"--{p.option.name or p.name.replace('_', '-')}", p.option) for p in lab.parameters if p.option]
    for name, flag, option in options:
        if option.needed and first in option.only and state[name] is None:
            raise UsageError(f"{first} needs {flag}")
    for name, flag, option in options:
        if option.only and first not in option.only and state[name] is not None:
            raise UsageError(f"{flag} {option.refusal.format(first)}")
    lists = {name: parse_numbers(state[name], flag) for name, flag, option in options if option.numbers}
    return state | lists


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.value if isinstance(value, Enum) else value
