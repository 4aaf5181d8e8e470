"""What a large citation network costs: reading an export of 100,000 citations, cutting it to 5,000 works, and its layout.

The exports are drawn by number in the shape of each database; the first work is the paper. The script fails when a reader
finds other works or citations than were written.
"""

from __future__ import annotations

import json
import random
from functools import partial
from typing import Any

import igraph
from shared import machine_facts, parser, reach, save, spread, take_turns

from bnlens.paper import layout, parse_network, record

WORKS, CITATIONS, DRAWN = 20_000, 100_000, 5_000
READ_TARGET, LAYOUT_TARGET = 5.0, 3.0


def citations(works: int, edges: int, seed: int) -> list[list[int]]:
    """Work -> earlier works that it cites, some far more often than others; every work has a path to work 0."""
    draw = random.Random(seed)  # noqa: S311 - nothing secret is drawn
    cited: list[set[int]] = [set() if work == 0 else {int(draw.random() ** 2 * work)} for work in range(works)]
    left = edges - works + 1
    while left:
        work = draw.randrange(1, works)
        other = int(draw.random() ** 2 * work)
        left -= other not in cited[work]
        cited[work].add(other)
    return [sorted(entry) for entry in cited]


def openalex(number: int, cited: list[int]) -> dict[str, Any]:
    return {
        "id": f"https://openalex.org/W{number}",
        "doi": f"https://doi.org/10.1000/{number}" if number else f"https://doi.org/10.48550/arxiv.{record().arxiv}",
        "title": f"Work {number}" if number else record().title,
        "publication_year": 2000 + number % 25,
        "authorships": [{"author": {"display_name": f"Ada Nummer {number}"}}],
        "referenced_works": [f"https://openalex.org/W{other}" for other in cited],
    }


def crossref(number: int, cited: list[int]) -> dict[str, Any]:
    def doi(work: int) -> str:
        return f"10.1000/{work}" if work else f"10.48550/arXiv.{record().arxiv}"

    return {
        "type": "article-journal",
        "id": f"work-{number}",
        "DOI": doi(number),
        "title": f"Work {number}" if number else record().title,
        "issued": {"date-parts": [[2000 + number % 25]]},
        "author": [{"family": "Nummer", "given": "Ada"}],
        "reference": [{"key": f"ref{other}", "DOI": doi(other)} for other in cited],
    }


def exports(seed: int) -> dict[str, str]:
    """The same network in each format."""
    cited = citations(WORKS, CITATIONS, seed)
    return {
        "OpenAlex": json.dumps({"results": [openalex(*entry) for entry in enumerate(cited)]}),
        "CSL-JSON": json.dumps([crossref(*entry) for entry in enumerate(cited)]),
    }


def main() -> None:
    arguments = parser(__file__, __doc__, repeats=7)
    arguments.add_argument("--seed", type=int, default=0, help="of the network (default %(default)s)")
    options = arguments.parse_args()
    texts = exports(options.seed)
    last: dict[str, Any] = {}

    def read(name: str) -> None:
        last["read"] = parse_network(texts[name], name, WORKS)
        assert (len(last["read"].nodes), len(last["read"].edges)) == (WORKS, CITATIONS), name

    def cut() -> None:
        last["cut"] = last["read"].limited(DRAWN)

    variants = {f"read {name}": partial(read, name) for name in texts}
    variants |= {f"cut to {DRAWN} works": cut, f"layout to {DRAWN} works": lambda: layout(last["cut"])}
    times = take_turns(variants, options.repeats, warm_up=False)
    *reading, cutting, drawing = (spread(of_variant.processor) for of_variant in times.values())
    drawn = {"works": DRAWN, "citations": len(last["cut"].edges)}
    result = {
        "machine": {**machine_facts(), "igraph": igraph.__version__},
        "config": {"works": WORKS, "citations": CITATIONS, "seed": options.seed, "repeats": options.repeats},
        "unit": "seconds of processor time",
        "reading": {
            name: {"mib": round(len(text) / 2**20, 1), **seconds}
            for (name, text), seconds in zip(texts.items(), reading, strict=True)
        },
        "reading_target": READ_TARGET,
        "cutting": {**drawn, **cutting},
        "layout": {**drawn, **drawing},
        "layout_target": LAYOUT_TARGET,
    }
    targets = [READ_TARGET] * len(reading) + [None, LAYOUT_TARGET]
    for name, seconds, target in zip(times, (*reading, cutting, drawing), targets, strict=True):
        end = f", target {target:g} s" if target else ""
        print(f"{name}: {seconds['median']:.2f} s ({reach(seconds)}){end}")
    save(options.out, result)


if __name__ == "__main__":
    main()
