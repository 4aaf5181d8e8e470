"""Print pins for ``pip install -r``: each core dependency of pyproject.toml at its lowest version (Python 3.11 or newer).

torch is left out: its old releases are published with a CUDA build of several gigabytes alone, so it stays at the
version of constraints.txt, and torch 2.4 is not tested here.
"""

import re
import sys
from pathlib import Path

import tomllib

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    name, lowest, marker = re.fullmatch(r"([\w-]+)>=([\d.]+)(;.*)?", requirement).groups()
    if name != "torch":
        sys.stdout.write(f"{name}=={lowest}{marker or ''}\n")
