"""Print a pin for each core dependency of pyproject.toml, at the lowest version it allows, for ``pip install -r``.

torch is left out: its old releases come from the registry with a CUDA build of several gigabytes alone, so it stays at the
version of constraints.txt, and torch 2.4 is not tested here.
"""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    name, lowest, marker = re.fullmatch(r"([\w-]+)>=([\d.]+)(;.*)?", requirement).groups()
    if name != "torch":
        sys.stdout.write(f"{name}=={lowest}{marker or ''}\n")
