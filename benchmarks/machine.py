"""What a benchmark's numbers depend on besides the code: the machine and the versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["machine_facts"]


def machine_facts() -> dict[str, object]:
    """Processor, cores, threads, load of the last minute, system and versions, as JSON data."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bnlens": _bnlens_version(),
    }


def _processor() -> str:
    """The processor's name; ``platform.processor()`` leaves it empty on Linux."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _bnlens_version() -> str | None:
    try:
        return version("bnlens")
    except PackageNotFoundError:
        return None
