"""A job: a function, its configuration, and what running it is expected to cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """One computation: what a worker process runs and what the store remembers.

    Attributes:
        name: unique among the jobs of one owner, for example ``"linear-gaussian-M64"``. It is shown, never read.
        function: a module-level function (a worker imports it by name) that takes ``config`` as keyword arguments and
            returns a dict of JSON data: numbers, strings, booleans, None, lists and dicts of these. If it has a
            parameter ``scratch``, it is also given the path of a folder that is its own: what it writes there it finds
            again when it is cut short and runs again, so a long job can go on from a checkpoint. The folder goes when
            the job is done, and does not enter the key.
        config: the keyword arguments, JSON data, the seed included. They are part of the key of the stored result.
        cost: expected cost in any unit shared by the jobs of a run, about seconds on one core; the runner starts
            expensive jobs first. It does not enter the key.
    """

    name: str
    function: Callable[..., dict[str, Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0

    @property
    def function_name(self) -> str:
        """``module:qualified name`` of the function."""
        return f"{self.function.__module__}:{self.function.__qualname__}"
