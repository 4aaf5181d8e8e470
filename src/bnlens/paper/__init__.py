"""The paper, arXiv 1809.00846: its record, how to cite it and the works behind it.

`record` has the identifiers, dates, people and a summary; `works` the table of works that the methods of this library come
from; `Citation` writes any CSL-JSON records as RIS, EndNote, BibTeX or CSL-JSON.
`key_terms` finds the terms of a text that set it apart from other texts. `bundled_network` and `read_network` are its citation
network, and `layout` where to draw it.
"""

from __future__ import annotations

from bnlens.paper._citation import FORMATS, Citation
from bnlens.paper._key_terms import KeyTerm, TermComparison, compare_terms, key_terms, neighbour_corpus, term_weights
from bnlens.paper._layout import layout
from bnlens.paper._network import ROLES, Counts, Edge, Network, Node, Role, bundled_network
from bnlens.paper._network_files import MOST_NODES, parse_network, read_network
from bnlens.paper._record import PageFacts, Paper, record
from bnlens.paper._works import get_works, works

__all__ = [
    "FORMATS",
    "MOST_NODES",
    "ROLES",
    "Citation",
    "Counts",
    "Edge",
    "KeyTerm",
    "Network",
    "Node",
    "PageFacts",
    "Paper",
    "Role",
    "TermComparison",
    "bundled_network",
    "compare_terms",
    "get_works",
    "key_terms",
    "layout",
    "neighbour_corpus",
    "parse_network",
    "read_network",
    "record",
    "term_weights",
    "works",
]
