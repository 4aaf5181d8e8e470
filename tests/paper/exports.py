"""Exports of citation databases, in the shape that each of them has."""

from typing import Any

ARXIV = "1809.00846"
TITLE = "Towards Understanding Regularization in Batch Normalization"


def openalex(number: int, cites: list[int], **fields: Any) -> dict[str, Any]:
    return {
        "id": f"https://openalex.org/W{number}",
        "doi": f"https://doi.org/10.1000/{number}",
        "title": f"Work {number}",
        "publication_year": 2000 + number % 25,
        "authorships": [{"author_position": "first", "author": {"display_name": f"Ada Nummer {number}"}}],
        "referenced_works": [f"https://openalex.org/W{other}" for other in cites],
        **fields,
    }


def openalex_paper(number: int, cites: list[int], **fields: Any) -> dict[str, Any]:
    return openalex(number, cites, title=TITLE, doi=f"https://doi.org/10.48550/arxiv.{ARXIV}", **fields)


def crossref(number: int, cites: list[int], **fields: Any) -> dict[str, Any]:
    doi = f"10.1000/{number}"
    return {
        "type": "article-journal",
        "id": doi,
        "DOI": doi,
        "title": f"Work {number}",
        "issued": {"date-parts": [[2000 + number % 25]]},
        "author": [{"family": "Nummer", "given": "Ada"}],
        "reference": [{"key": f"ref{other}", "DOI": f"10.1000/{other}"} for other in cites],
        **fields,
    }
