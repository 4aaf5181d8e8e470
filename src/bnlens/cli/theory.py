"""``bnlens theory``: the labs on the command line, one subcommand each, with a table on standard output."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from enum import Enum
from inspect import Parameter as Argument
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnlens._files import check_writable, write_atomic
from bnlens._progress import counter
from bnlens.cli._commands import Command as Verb
from bnlens.cli._commands import new_group
from bnlens.errors import UsageError
from bnlens.labs import LABS, Choice, Command, Lab, Option, Parameter, Whole

if TYPE_CHECKING:
    from bnlens.render import Figure

__all__ = ["theory_app"]


class OutputFormat(str, Enum):
    """How a table is printed."""

    csv = "csv"
    json = "json"


_PLOT = typer.Option(metavar="FILE", show_default=False, help="Write a figure, .html, .png, .svg or .pdf.")
_OUTPUT = (
    ("form", OutputFormat, typer.Option("--format", help="What to print on standard output."), OutputFormat.csv),
    ("plot", Path | None, _PLOT, None),
)


def theory_app() -> typer.Typer:
    """Return the verb with a subcommand for each lab that has one."""
    app = new_group()
    for lab in LABS:
        if lab.command is not None:
            app.command(lab.id, help=lab.command.help, cls=Verb)(_function(lab, lab.command))
    app.callback()(_theory)
    return app


def _theory() -> None:
    """Learning dynamics, learning rates and generalization of one unit, from closed forms and equations.

    Tables go to standard output, as CSV or JSON.
    """


def _function(lab: Lab, command: Command) -> Callable[..., None]:
    """Return the function of a subcommand; typer makes its options from the signature."""

    def run(ctx: typer.Context, form: OutputFormat, plot: Path | None, **given: Any) -> None:
        _check_plot(plot)
        state = _state(lab, given)
        _check_matters(lab, state, ctx)
        with counter("simulating") as progress:
            table = command.tabulate(state, progress)
        typer.echo(table.csv() if form is OutputFormat.csv else json.dumps(table.data(), indent=2) + "\n", nl=False)
        if plot is not None:
            _write_plot(table.draw(), plot, table.title, table.words)

    asked = [_argument(parameter, parameter.option) for parameter in lab.parameters if parameter.option is not None]
    arguments = [
        Argument(name, Argument.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
        for name, kind, option, default in (*asked, *_OUTPUT)
    ]
    arguments.insert(0, Argument("ctx", Argument.KEYWORD_ONLY, annotation=typer.Context))
    run.__annotations__ = {argument.name: argument.annotation for argument in arguments}
    run.__signature__ = Signature(arguments)  # type: ignore[attr-defined]
    return run


def _flag(name: str, option: Option | None) -> str:
    return f"--{(option and option.name) or name.replace('_', '-')}"


def _argument(parameter: Parameter, option: Option) -> tuple[str, Any, Any, Any]:
    """Return name, type, typer's option and default of a parameter."""
    default = parameter.default if option.default is ... else option.default
    names = [_flag(parameter.name, option), *([option.short] if option.short else [])]
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
    options = [(p.name, _flag(p.name, p.option), p.option) for p in lab.parameters if p.option]
    for name, flag, option in options:
        value = state[name]
        if option.needed and first in option.only and value is None:
            raise UsageError(f"{first} needs {flag}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{flag} is {value}; give a finite number")
    for name, flag, option in options:
        if option.only and first not in option.only and state[name] is not None:
            raise UsageError(f"{flag} {option.refusal.format(first)}")
    lists = {name: _parse_numbers(state[name], flag) for name, flag, option in options if option.numbers}
    own = {
        name: lab.parameter(name).default for name, _, option in options if first in option.only and state[name] is None
    }
    return state | own | lists


def _check_matters(lab: Lab, state: Mapping[str, Any], ctx: typer.Context) -> None:
    """Raise where an option is given that only a simulation uses, and there is none."""
    for parameter in lab.parameters:
        source = ctx.get_parameter_source(parameter.name)
        if (
            source
            and source.name == "COMMANDLINE"
            and state["simulate"] not in parameter.when.get("simulate", (state["simulate"],))
        ):
            flag = _flag(parameter.name, parameter.option)
            raise UsageError(f"{flag} has no effect without --simulate; add that, or leave {flag} out")


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.value if isinstance(value, Enum) else value


_MOST_NUMBERS = 100_000


def _parse_numbers(text: str, option: str) -> list[float]:
    """Return the numbers of "0.5,1,2" or of "START:STOP:STEP", STOP included.

    Raises:
        UsageError: the text is neither; the message names the option.

    >>> _parse_numbers("0.5,1,4", "--alpha"), _parse_numbers("0:1:0.25", "--tau")
    ([0.5, 1.0, 4.0], [0.0, 0.25, 0.5, 0.75, 1.0])
    """
    try:
        numbers = [float(part) for part in text.split(":" if ":" in text else ",")]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError
        if ":" not in text:
            return numbers
        start, stop, step = numbers
        count = math.floor((stop - start) / step + 1e-9) + 1
        if step <= 0 or not 1 <= count <= _MOST_NUMBERS:
            raise ValueError
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(
            f"{option} is {text!r}; give numbers as 0.5,1,2 or a range START:STOP:STEP of at most {_MOST_NUMBERS:,} numbers"
        ) from error
    return [round(start + index * step, 12) for index in range(count)]


def _check_plot(path: Path | None) -> None:
    """Raise before anything is computed where a figure could not be written."""
    if path is None:
        return
    if path.suffix == ".html":
        check_writable(path)
    else:
        from bnlens.render import check_picture

        check_picture(path, option="--plot", others=(".html",))


def _write_plot(figure: Figure, path: Path, title: str, description: str) -> None:
    """Write a figure as a page that works offline, or as a picture."""
    from bnlens import render

    if path.suffix == ".html":
        write_atomic(path, render.page(title, render.figure(figure, caption=description)))
    else:
        render.save_picture(figure, path, title=title)
    typer.echo(f"Written: {path}", err=True)
