"""The paper, arXiv 1809.00846: its record, how to cite it and the works behind it.

`record` has the identifiers, dates, people and a summary; `works` the table of works that the methods of this library come
from; `Citation` writes any CSL-JSON records as RIS, EndNote, BibTeX or CSL-JSON.
`key_terms` finds the terms of a text that set it apart from other texts.
"""

from __future__ import annotations

from bnlens.paper._citation import FORMATS, Citation
from bnlens.paper._key_terms import (
    KeyTerm,
    TermComparison,
    compare_terms,
    key_terms,
    neighbour_corpus,
    term_weights,
)
from bnlens.paper._record import PageFacts, Paper, record
from bnlens.paper._works import get_works, works

__all__ = [
    "FORMATS",
    "Citation",
    "KeyTerm",
    "PageFacts",
    "Paper",
    "TermComparison",
    "compare_terms",
    "get_works",
    "key_terms",
    "neighbour_corpus",
    "record",
    "term_weights",
    "works",
]
