"""This checkout on the path, also where it is not installed, as on a machine without network."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]


def provide() -> None:
    """Put the checkout on the path of this process and those it starts, and the metadata that installing would have written."""
    added = [str(ROOT / "src")]
    try:
        version("bnlens")
    except PackageNotFoundError:
        added.append(_metadata())
    sys.path[:0] = added
    os.environ["PYTHONPATH"] = os.pathsep.join([*added, *filter(None, [os.environ.get("PYTHONPATH")])])


def _metadata() -> str:
    """A new folder with the name and version of bnlens, which go when the process ends."""
    number = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert number is not None
    folder = tempfile.mkdtemp(prefix="bnlens-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    info = Path(folder) / f"bnlens-{number[1]}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bnlens\nVersion: {number[1]}\n", encoding="utf-8")
    return folder
