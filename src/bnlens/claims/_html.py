"""The report of a run: every claim with its statement, figure, numbers and verdict, in one page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from bnlens import render
from bnlens._plain import csv_text
from bnlens.claims._data import TONES, paper_text, parts_text, run_data, seeds_text
from bnlens.render import Html

if TYPE_CHECKING:
    from bnlens.claims._claim import Finding
    from bnlens.claims._run import ClaimRun, Reproduction

__all__ = ["report_page"]

_LEAD = (
    "Batch normalization regularises: the mean loss with the statistics of M samples differs from the mean loss with "
    "population statistics. Each claim about this gap is computed here and judged by its numbers."
)


def report_page(reproduction: Reproduction) -> str:
    """Return ``report.html``: verdicts at a glance, each claim in full, and how the numbers came about."""
    runs = reproduction.runs
    body = [_overview(runs), *(_claim(run, reproduction.scale) for run in runs), _details(reproduction)]
    return render.page("The claims of batch normalization, checked", "\n".join(body), description=_LEAD)


def _overview(runs: Sequence[ClaimRun]) -> Html:
    counts = [(verdict, sum(_verdict(run) == verdict for run in runs)) for verdict in TONES]
    text = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    rows = [
        {"Claim": _link(run), "Verdict": _badge(run), **_numbers(run), "Seconds": f"{run.seconds:.1f}"} for run in runs
    ]
    noun = "claim" if len(runs) == 1 else "claims"
    everything = json.dumps({"claims": [run_data(run) for run in runs]}, indent=2)
    download = render.download(
        everything, filename="bnlens-claims.json", label="All numbers (JSON)", media_type="application/json"
    )
    body = [
        render.table(rows, caption=f"{len(runs)} {noun}: {text}. The ratio is predicted / measured."),
        Html(f'<p class="downloads">{download}</p>'),
    ]
    return render.section("At a glance", "\n".join(body), anchor="overview")


def _claim(run: ClaimRun, scale: str) -> Html:
    claim, finding = run.claim, run.finding
    body = [
        Html(f"<p>{_badge(run)}</p>"),
        render.paragraph(claim.statement, kind="lead"),
        *([render.definitions({"The paper, in our words": paper_text(claim.paper)})] if claim.paper else []),
        *(render.paragraph(f"This claim could not be judged: {error}", kind="error") for error in run.errors),
    ]
    if finding is not None and run.figure is not None:
        caption = f"Figure {claim.id}. {claim.title}, computed at scale {scale}."
        body += [
            *([render.paragraph(f"Judged apart: {parts_text(finding)}.")] if finding.parts else []),
            render.paragraph(finding.summary),
            *([render.paragraph(_correction(finding), kind="finding")] if finding.corrects_paper else []),
            render.figure(run.figure, caption=caption, label=f"Figure {claim.id}, {claim.title}. {finding.summary}"),
            render.table(finding.rows, caption="The numbers, ± one standard error.") if finding.rows else Html(""),
            _downloads(run, finding),
        ]
    body.append(
        render.definitions(
            {
                "Measured and predicted": claim.quantity,
                "Source": claim.source,
                "What agreement means": claim.agreement,
                **_effort(run),
            }
        )
    )
    return render.section(f"{claim.id}. {claim.title}", "\n".join(body), anchor=_anchor(run))


def _correction(finding: Finding) -> Html:
    return Html(f"<strong>Corrects the paper.</strong> {render.escape(finding.corrects_paper)}")


def _downloads(run: ClaimRun, finding: Finding) -> Html:
    name = f"bnlens-{_anchor(run)}"
    numbers = json.dumps(run_data(run), indent=2)
    jobs = {record.job: {"config": record.config, "result": record.result} for record in run.records}
    files = (
        (".csv", "Table (CSV)", csv_text(finding.rows), "text/csv"),
        (".json", "Finding (JSON)", numbers, "application/json"),
        ("-jobs.json", "Results of all jobs (JSON)", json.dumps(jobs, indent=1), "application/json"),
    )
    links = (
        render.download(text, filename=name + end, label=label, media_type=kind) for end, label, text, kind in files
    )
    return Html(f'<p class="downloads">{"".join(links)}</p>')


def _effort(run: ClaimRun) -> dict[str, object]:
    records = run.records
    stored = len(records) - run.computed
    jobs = f"{len(records)}, {run.seconds:.1f} s" + (f" ({stored} stored before)" if stored else "")
    finished = max((record.finished for record in records), default="")
    effort = {"Jobs": jobs, "Seeds": seeds_text(records), "Finished": _date(finished)}
    return {term: value for term, value in effort.items() if value}


def _details(reproduction: Reproduction) -> Html:
    records = [record for run in reproduction.runs for record in run.records]
    versions: dict[str, set[str]] = {}
    for record in records:
        for package, version in record.versions.items():
            versions.setdefault(package, set()).add(version)
    computed = sum(run.computed for run in reproduction.runs)
    items: dict[str, object] = {
        "Scale": reproduction.scale,
        "Report written": _date(datetime.now().astimezone().isoformat()),
        "Computing time": f"{sum(run.seconds for run in reproduction.runs):.1f} s",
        "Computed by this run": f"{computed} of {len(records)} jobs",
        **{package: ", ".join(sorted(found)) for package, found in versions.items()},
    }
    note = render.paragraph(
        "± is one standard error. Random numbers are seeded. Results of earlier runs count as long as neither their "
        "configuration nor the code behind them has changed.",
        kind="note",
    )
    return render.section("How these numbers came about", f"{render.definitions(items)}\n{note}", anchor="details")


def _date(moment: str) -> str:
    if not moment:
        return ""
    date = datetime.fromisoformat(moment)
    return f"{date.day} {date:%B %Y, %H:%M %Z}"


def _anchor(run: ClaimRun) -> str:
    return run.claim.id.lower()


def _link(run: ClaimRun) -> Html:
    return Html(f'<a href="#{_anchor(run)}">{render.escape(run.claim.id)}</a> {render.escape(run.claim.title)}')


def _verdict(run: ClaimRun) -> str:
    return run.finding.verdict if run.finding else "not judged"


def _badge(run: ClaimRun) -> Html:
    return render.badge(_verdict(run), TONES[_verdict(run)])


def _numbers(run: ClaimRun) -> dict[str, str | None]:
    quantity: dict[str, str | None] = {"Quantity": run.claim.quantity}
    finding = run.finding
    if finding is None:
        return quantity | dict.fromkeys(("Measured ± s.e.", "Predicted", "Ratio"))
    measured = render.number(finding.measured, finding.stderr)
    predicted, ratio = render.number(finding.predicted), render.number(finding.ratio)
    return quantity | {"Measured ± s.e.": measured, "Predicted": predicted, "Ratio": ratio}
