"""Errors from a user's code: those of PyTorch, where a batch does not fit the model, and his own, which stay as they are."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from bnlens._arguments import reason
from bnlens.errors import BnlensError, ModelError

__all__ = ["running"]

_TORCH = str(Path(torch.__file__).parent)
_SHOWN = 3  # tensors of a batch
_OF_DTYPES = re.compile(r"type|half|float|double|byte|long|dtype|complex", re.IGNORECASE)


@contextmanager
def running(model: nn.Module, batch: Any) -> Iterator[None]:
    """Within this context a model runs on a batch of its loader.

    An error that its own code raises goes on, with a note on where it comes from.

    Raises:
        ModelError: PyTorch cannot run the model on such a batch.
    """
    try:
        yield
    except (BnlensError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:
        name, found = type(model).__name__, _described(batch)
        if _is_of_torch(error):
            raise ModelError(
                f"{name} cannot run on a batch of the loader, {found} ({reason(error)}); {_fix(model, batch, error)}"
            ) from error
        notes = [
            *getattr(error, "__notes__", ()),
            f"raised by the code of {name} or of forward=, on a batch of {found}",
        ]
        error.__notes__ = list(dict.fromkeys(notes))  # read from Python 3.11 on
        raise


def _is_of_torch(error: Exception) -> bool:
    """Return whether PyTorch raised an error: in its files, or in a call of it that shows as one line of the user's."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    raised = (frame.line or "").startswith("raise")
    return frame.filename.startswith(_TORCH) or (type(error) in (NotImplementedError, RuntimeError) and not raised)


def _tensors(batch: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]


def _described(batch: Any) -> str:
    shown = [f"{_name(leaf.dtype)} {tuple(leaf.shape)}" for leaf in _tensors(batch)[:_SHOWN]]
    return ", ".join(shown) or f"type {type(batch).__name__}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _fix(model: nn.Module, batch: Any, error: Exception) -> str:
    tensors, own = _tensors(batch), next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if tensors and tensors[0].dtype != own and _OF_DTYPES.search(str(error)):
        if own in (torch.float16, torch.bfloat16):
            return f"its parameters are {_name(own)}: call .float() on it, or give inputs of that dtype"
        if tensors[0].is_complex():
            return "it takes no complex inputs: give real ones, such as inputs.abs()"
        return f"give inputs as {_name(own)}, the dtype of its parameters (inputs.to(torch.{_name(own)}))"
    return "give inputs of the shape that it takes (samples, channels, ...), or pass forward=, which chooses them"
