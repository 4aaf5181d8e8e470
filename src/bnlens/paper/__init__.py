"""The paper, arXiv 1809.00846: its record, how to cite it and the works behind it.

`record` has the identifiers, dates, people and a summary; `works` the table of works that the methods of this library come
from; `Citation` writes any CSL-JSON records as RIS, EndNote, BibTeX or CSL-JSON.
"""

from __future__ import annotations

from bnlens.paper._citation import FORMATS, Citation
from bnlens.paper._record import PageFacts, Paper, record
from bnlens.paper._works import get_works, works

__all__ = ["FORMATS", "Citation", "PageFacts", "Paper", "get_works", "record", "works"]
