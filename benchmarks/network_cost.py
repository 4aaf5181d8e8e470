"""What a large citation network costs: reading an export of 100,000 citations, cutting it to 5,000 works, and its layout.

The exports are drawn by number in the shape of each database; the first work is the paper. The script fails when a reader
finds other works or citations than were written.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import igraph
from machine import machine_facts
from repetitions import spread

from bnlens._files import write_atomic
from bnlens.paper import layout, parse_network, record

WORKS, CITATIONS, DRAWN = 20_000, 100_000, 5_000
READ_TARGET, LAYOUT_TARGET = 5.0, 3.0
OUT = Path(__file__).parent / "results" / "network_cost.json"


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


def scholar(number: int) -> dict[str, Any]:
    return {
        "paperId": f"{number:040x}",
        "externalIds": {"DOI": f"10.1000/{number}"} if number else {"ArXiv": record().arxiv},
        "title": f"Work {number}" if number else record().title,
        "year": 2000 + number % 25,
        "authors": [{"authorId": str(number), "name": f"Ada Nummer {number}"}],
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
    plain = [scholar(number) for number in range(WORKS)]
    return {
        "OpenAlex": json.dumps({"results": [openalex(*entry) for entry in enumerate(cited)]}),
        "Semantic Scholar": json.dumps(
            [{**plain[n], "references": [plain[other] for other in entry]} for n, entry in enumerate(cited)]
        ),
        "CSL-JSON": json.dumps([crossref(*entry) for entry in enumerate(cited)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="repetitions (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the network (default %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file to write (default %(default)s)")
    options = parser.parse_args()
    texts = exports(options.seed)
    reading: dict[str, list[float]] = {name: [] for name in texts}
    cutting: list[float] = []
    drawing: list[float] = []
    for _ in range(options.repeats):
        for name, text in texts.items():
            start = time.process_time()
            network = parse_network(text, name, WORKS)
            reading[name].append(time.process_time() - start)
            assert (len(network.nodes), len(network.edges)) == (WORKS, CITATIONS), name
        start = time.process_time()
        drawn = network.limited(DRAWN)
        cutting.append(time.process_time() - start)
        start = time.process_time()
        layout(drawn)
        drawing.append(time.process_time() - start)
    result = {
        "benchmark": "network_cost",
        "machine": {**machine_facts(), "igraph": igraph.__version__},
        "config": {"works": WORKS, "citations": CITATIONS, "seed": options.seed, "repeats": options.repeats},
        "unit": "seconds of processor time",
        "reading": {
            name: {"mib": round(len(texts[name]) / 2**20, 1), **spread(seconds)} for name, seconds in reading.items()
        },
        "reading_target": READ_TARGET,
        "cutting": {"works": DRAWN, "citations": len(drawn.edges), **spread(cutting)},
        "layout": {"works": DRAWN, "citations": len(drawn.edges), **spread(drawing)},
        "layout_target": LAYOUT_TARGET,
    }
    write_atomic(options.out, json.dumps(result, indent=2) + "\n")
    for name, seconds in reading.items():
        times = spread(seconds)
        print(
            f"read {name}: {times['median']:.2f} s ({times['min']:.2f} to {times['max']:.2f}), target {READ_TARGET:g} s"
        )
    for name, seconds, target in (("cut", cutting, None), ("layout", drawing, LAYOUT_TARGET)):
        times = spread(seconds)
        print(
            f"{name} to {DRAWN} works: {times['median']:.2f} s ({times['min']:.2f} to {times['max']:.2f})"
            + (f", target {target:g} s" if target else "")
        )
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
