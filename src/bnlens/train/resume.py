"""The checkpoint of a run: all that the rest of it depends on, and what must agree for the rest to belong to it."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnlens._files import write_atomic
from bnlens.errors import DataError, UsageError
from bnlens.train.evaluate import device_of

__all__ = ["RunCheckpoint", "describe_function", "describe_model", "restore_tensors"]

_FORMAT = "bnlens run 2"
# What is kept as a hash alone, and what to say of it where it differs.
_HASHED = {"model": "another model", "initial weights": "other initial weights", "data": "other data"}
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class RunCheckpoint:
    """The file of one run.

    Args:
        path: where it is, or will be.
        configuration: everything that decides the run, by the name a user knows it by; plain values.
    """

    def __init__(self, path: Path, configuration: Mapping[str, Any]) -> None:
        self.path = path
        self._configuration = dict(configuration)

    def read(self) -> dict[str, Any] | None:
        """Return the state that `write` was given, on the CPU, or None where there is no file.

        Raises:
            DataError: the file is damaged or something else.
            UsageError: it is of a run of another configuration; the message names what differs.
        """
        if not self.path.is_file():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        # as in reading weights, damage shows in many ways
        except Exception as error:
            raise DataError(f"{self.path} is not a readable checkpoint of a run; delete it to start anew") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise DataError(f"{self.path} is no checkpoint of a run of fit; give another path")
        theirs: dict[str, Any] = content["configuration"]
        ours = self._configuration
        differing = [
            _HASHED.get(name) or f"{name} was {theirs.get(name)} and is {ours.get(name)}"
            for name in {**ours, **theirs}
            if theirs.get(name) != ours.get(name)
        ]
        if differing:
            raise UsageError(
                f"the checkpoint {self.path} is of another run: {'; '.join(differing)}; "
                "run with what it was begun with, delete it, or give another path"
            )
        state: dict[str, Any] = content["state"]
        return state

    def write(self, state: Mapping[str, Any]) -> None:
        """Write ``state``, whole or not at all.

        Raises:
            StoreError: the folder cannot be written.
        """
        buffer = io.BytesIO()
        torch.save({"format": _FORMAT, "configuration": self._configuration, "state": dict(state)}, buffer)
        write_atomic(self.path, buffer.getvalue())

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def describe_model(model: nn.Module) -> dict[str, str]:
    """Return hashes of the structure of a model and of its present weights and buffers."""
    structure = hashlib.sha256(_ADDRESS.sub("", repr(model)).encode())
    values = hashlib.sha256()
    for name, tensor in model_tensors(model).items():
        structure.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        values.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {"model": structure.hexdigest(), "initial weights": values.hexdigest()}


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers by name, those that are not in a ``state_dict`` (the windows of BN layers) included."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def restore_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy what `model_tensors` gave into the model; a buffer that a layer makes on first use is made."""
    present, device = model_tensors(model), device_of(model)
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name in present:
                present[name].copy_(tensor)
            else:
                path, _, own = name.rpartition(".")
                setattr(model.get_submodule(path), own, tensor.to(device))


def describe_function(function: Callable[..., Any] | None) -> str:
    """Return a name for a regulariser, with the plain numbers and strings that it holds."""
    if function is None:
        return "none"
    name = getattr(function, "__qualname__", None)
    if name is not None:
        return str(name)
    plain = {key: value for key, value in sorted(vars(function).items()) if isinstance(value, (int, float, str, bool))}
    return f"{type(function).__qualname__}({', '.join(f'{key}={value}' for key, value in plain.items())})"
