"""Errors of the library speak of arguments, those of the command line of options: the same sentences, translated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["in_flags"]

_OTHERWISE = {
    "L": "norm",
    "R": "overlap",
    "loss_fn": "loss",
    "max_samples": "samples",
    "name_or_path": "data",
    "steps": "train_steps",
    "target": "export",
    "workers": "jobs",
}
"""Arguments of the library whose options have other names."""

_VALUE = r"=(?P<value>'[^']*'|\[[^\]]*\]|(?=\()|[^\s,;:()]+)"
_SAID = r"(?= (?:is|must|needs|has to)\b|=)"  # after a name that is also a word


def in_flags(sentence: str, parameters: Iterable[Any]) -> str:
    """Return a sentence of the library with the options of a command in place of arguments.

    Args:
        sentence: names arguments as ``name``, ``name=value`` or, where the name is one plain word, ``name is``.
        parameters: of the command, as click has them; options have the names of the arguments that they are passed as.
    """
    flags: dict[str, tuple[str, str]] = {}
    for parameter in parameters:
        for option in sorted(flag for flag in parameter.opts if flag.startswith("--")):
            no = next(iter(parameter.secondary_opts), f"no {option}")
            flags[option[2:].replace("-", "_")] = flags[str(parameter.name)] = (option, no)
    flags |= {name: flags[other] for name, other in _OTHERWISE.items() if other in flags and name not in flags}
    if not flags:
        return sentence
    several = "|".join(sorted((name for name in flags if "_" in name), key=len, reverse=True))
    plain = "|".join(sorted((name for name in flags if "_" not in name), key=len, reverse=True))
    words = rf"(?<!the )(?:{plain}){_SAID}|^(?:{plain})(?= ')"
    names = "|".join(filter(None, [several, plain and words]))
    pattern = re.compile(rf"(?<![\w./'\"`-])(?P<name>{names})(?![\w/(]|\.\w|-)(?:{_VALUE})?")

    def option_of(found: re.Match[str]) -> str:
        flag, no = flags[found["name"]]
        value = found["value"]
        if value is None or value == "True":
            return flag
        return no if value == "False" else f"{flag} {value}"

    return pattern.sub(option_of, sentence)
