"""Reading a model's weights from files of others, without running what they may contain, and writing them."""

from __future__ import annotations

import io
import os
import pickle  # for the type of torch.load's error
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnlens._arguments import checked
from bnlens._files import write_atomic
from bnlens.errors import DataError, ModelError
from bnlens.train._optional import require

__all__ = ["load_checkpoint", "save_checkpoint"]

_SAFETENSORS = ".safetensors"
_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
_SHOWN_KEYS = 3


@checked
def load_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Copy a checkpoint's weights and buffers into ``model``; after an error the model is as it was.

    Reads ``.safetensors`` files, and anything ``torch.load`` opens with ``weights_only=True``: a ``state_dict``, or a
    dict that holds one as ``state_dict``, ``model`` or ``model_state_dict``. The prefixes ``module.`` and
    ``_orig_mod.`` are dropped. Old checkpoints may lack ``num_batches_tracked``.

    Args:
        model: receives the weights, on the device it is on.
        path: the checkpoint.

    Raises:
        DataError: the file is missing, corrupt, holds objects that could run code, or needs the package safetensors.
        ModelError: names or shapes do not fit the model; the message gives the first few.
    """
    path = Path(path)
    if not path.is_file():
        wrong = (
            f"checkpoint {path} is a folder; give the file"
            if path.is_dir()
            else f"there is no checkpoint {path}; check the path"
        )
        raise DataError(wrong)
    content = _read_safetensors(path) if path.suffix == _SAFETENSORS else _read_torch(path)
    state = _strip_prefixes(_unwrap(content, path))
    expected = model.state_dict()
    for key, tensor in expected.items():
        if key.endswith("num_batches_tracked"):
            state.setdefault(key, tensor)
    _check_fit(state, expected, path)
    model.load_state_dict(state)


@checked
def save_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> Path:
    """Write the model's ``state_dict`` so that the file is whole or absent; ``.safetensors`` selects that format.

    Returns:
        The path written.

    Raises:
        DataError: the package safetensors is needed and not installed.
        StoreError: the folder cannot be written.
    """
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    if Path(path).suffix == _SAFETENSORS:
        safetensors = require("safetensors.torch", f"writing {path}", extra="")
        # tied weights share memory, which the format does not know
        payload = safetensors.save({key: tensor.clone() for key, tensor in state.items()})
    else:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        payload = buffer.getvalue()
    return write_atomic(path, payload)


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # torch warns of foreign pickles, which then either load or raise
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "global" not in str(error).lower():
            raise DataError(_corrupt(path)) from error
        raise DataError(
            f"{path} holds objects other than tensors, which could run code when read; "
            "save it again with torch.save(model.state_dict(), path) or as safetensors"
        ) from error
    # damage shows as RuntimeError, EOFError, KeyError, UnicodeDecodeError and others
    except Exception as error:
        raise DataError(_corrupt(path)) from error


def _read_safetensors(path: Path) -> Any:
    safetensors = require("safetensors.torch", f"reading {path}", extra="")
    try:
        return safetensors.load_file(path)
    except Exception as error:  # SafetensorError is a direct child of Exception
        raise DataError(_corrupt(path)) from error


def _corrupt(path: Path) -> str:
    return f"{path} is not a readable checkpoint; download or save it again"


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
        if inner and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in inner.items()):
            return dict(inner)
    raise DataError(
        f"{path} holds no state_dict; save one with torch.save(model.state_dict(), path), "
        f"alone or under one of the keys {', '.join(_WRAPPERS)}"
    )


def _strip_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    stripped = {}
    for key, tensor in state.items():
        while key.startswith(_PREFIXES):
            key = key.partition(".")[2]
        stripped[key] = tensor
    return stripped


def _check_fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    faults = [
        f"{fault} {', '.join(keys[:_SHOWN_KEYS])}"
        + (f" and {len(keys) - _SHOWN_KEYS} more" * (len(keys) > _SHOWN_KEYS))
        for fault, keys in (("it lacks", missing), ("it has the unknown", unexpected), ("shapes differ:", misshapen))
        if keys
    ]
    if faults:
        raise ModelError(f"{path} does not fit the model: {'; '.join(faults)}; build the model the checkpoint is from")
