"""The report object: text, JSON, comparison, prediction and frames, on reports with fixed numbers."""

import dataclasses
import io
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import mlp, plain, seeded
from measure_reports import NAMES, NAN, bare, full, gaps, layer
from rich.console import Console

import bnlens
from bnlens.errors import StoreError, UsageError
from bnlens.measure import Difference, Estimate, Gaps, NetworkResult, Report
from bnlens.measure._estimate import mean_estimate

GOLDEN = Path(__file__).parent / "golden"
REPORTS: dict[str, Callable[[], Report]] = {"full": full, "bare": bare}


@pytest.fixture(params=REPORTS)
def report(request: pytest.FixtureRequest) -> Report:
    return REPORTS[request.param]()


# Text


SHOWN = {
    **{f"full{width}": partial(full().table, width=width) for width in (40, 80, 120)},
    "verbose": partial(full().table, verbose=True, width=80),
    "bare": partial(bare().table, width=80),
    "prediction": lambda: repr(full().predict([16, 24, 2])),
    "comparison": lambda: repr(full().compare(other())),
}


@pytest.mark.parametrize("name", SHOWN)
def test_text_is_as_agreed(name: str) -> None:
    assert f"{SHOWN[name]()}\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 200])
def test_a_terminal_shows_what_the_text_says(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(full())
    assert console.file.getvalue() == f"{full().table(width=width)}\n"


# JSON


def test_json_round_trip(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "report.json"
    text = report.to_json(path)
    assert path.read_text(encoding="utf-8") == text
    loaded = Report.load(path)
    assert loaded.to_json() == text
    assert repr(loaded) == repr(report)
    assert type(loaded.network.gaps.measured) is dict
    assert loaded.statistics_batch_sizes == report.statistics_batch_sizes
    if "nan" not in str(dataclasses.asdict(report)):
        assert loaded == report


def test_a_report_of_schema_1_is_read_and_used() -> None:
    """Made by the bnlens before shares, of the net that the new report is of."""
    old = Report.load(GOLDEN / "schema1.json")
    new = bnlens.report(seeded(mlp)(), plain(), F.cross_entropy, statistics_batch_size=(4, 8), rounds=4, alone=True)
    assert (old.stopped, old.precision, old.groups, old["1"].share, old.network.unattributed) == (
        "rounds",
        None,
        {},
        {},
        {},
    )
    assert "Share of each layer" not in repr(old)
    assert "1 alone" in repr(old)
    assert repr(Report.loads(old.to_json())) == repr(old)
    assert 'id="layers"' not in old.to_html()
    gaps = old["1"].gaps
    assert gaps is not None
    assert old.predict(16).layers["1"] == gaps.predicted(16)
    frame = old.to_frame()
    assert frame["share"].isna().all()
    assert frame.loc[("1", 4), "measured"] == gaps.measured[4].value
    comparison = old.compare(new)
    assert comparison.of_layers == new.compare(old).of_layers == "gaps of layers alone"
    assert [(d.layer, d.statistics_batch_size) for d in comparison.differences] == [
        (name, size) for name in ("(network)", "1", "4") for size in (4, 8)
    ]
    assert all(abs(d.z) < 4 for d in comparison.differences)  # of one net, by other groups


def test_json_keeps_every_digit_and_what_is_not_there(tmp_path: Path) -> None:
    network = NetworkResult(gaps(1 / 3), Estimate(0.1 + 0.2, math.inf), Estimate(1e-300, NAN))
    report = dataclasses.replace(full(), network=network)
    report.to_json(tmp_path / "report.json")
    network = Report.load(tmp_path / "report.json").network
    assert network.gaps == report.network.gaps
    assert network.population_loss.value == 0.1 + 0.2
    assert math.isnan(network.population_loss.stderr)
    assert network.running_discrepancy is not None
    assert network.running_discrepancy.value == 1e-300
    assert math.isnan(network.running_discrepancy.stderr)


def test_json_is_plain_and_strict(report: Report) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(report.to_json(), parse_constant=refuse)
    assert document["kind"] == "bnlens report"
    assert document["schema"] == 3
    assert set(document) == {"kind", "schema", *(field.name for field in dataclasses.fields(Report))}


def edited(change: Callable[[dict[str, Any]], Any]) -> str:
    document = json.loads(full().to_json())
    replacement = change(document)
    return json.dumps(document if replacement is None else replacement)


def without(key: str) -> str:
    return edited(lambda document: {k: v for k, v in document.items() if k != key})


DAMAGED = {
    "not JSON": ("hello", r"is not a bnlens report \(no valid JSON\); write one with Report.to_json"),
    "empty": ("", "is not a bnlens report"),
    "cut off": (full().to_json()[:-200], "is not a bnlens report"),
    "a list": ("[1, 2]", "is not a bnlens report; write one with Report.to_json"),
    "other JSON": ('{"schema": 1}', "is not a bnlens report; write one with Report.to_json"),
    "newer": (edited(lambda d: d.update(schema=4)), "has schema 4, newer than 3 of this bnlens; update bnlens"),
    "no schema": (without("schema"), r"is damaged \(its schema is None, not a number\); write the report anew"),
    "schema is text": (edited(lambda d: d.update(schema="1")), r"is damaged \(its schema is '1'"),
    "no network": (without("network"), r"is damaged \('network'\); write the report anew"),
    "samples is text": (edited(lambda d: d.update(samples="many")), r"is damaged \('many' is not int\)"),
    "layers is a number": (edited(lambda d: d.update(layers=3)), "is damaged"),
    "notes are text": (edited(lambda d: d.update(notes=["x"])), "is damaged"),
    "gap is a list": (edited(lambda d: d["network"]["gaps"].update(measured=[1])), "is damaged"),
    "M is text": (edited(lambda d: d["network"]["gaps"].update(measured={"x": None})), "is damaged"),
    "covariance": (
        edited(lambda d: d["network"]["gaps"].update(covariance=[[1.0]])),
        r"is damaged \(covariances of other sizes than the 4 measured\)",
    ),
    "value is text": (edited(lambda d: d["network"]["population_loss"].update(value="x")), "is damaged"),
    "no stderr": (edited(lambda d: d["network"]["population_loss"].pop("stderr") and None), "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_files_that_are_no_report(name: str, tmp_path: Path) -> None:
    text, words = DAMAGED[name]
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=words) as caught:
        Report.load(path)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    words = {
        "missing.json": "cannot read .*: No such file",
        "": "cannot read .*: Is a directory",
        "bytes": "is not a bnlens",
    }
    for name, message in words.items():
        with pytest.raises(StoreError, match=message):
            Report.load(tmp_path / name)


@pytest.mark.parametrize("write", [Report.to_json, Report.to_html])
def test_a_path_that_cannot_be_written_leaves_nothing(write: Callable[..., str], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("here", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot write to .*file: it is a file"):
        write(full(), blocked / "report.out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert blocked.read_text(encoding="utf-8") == "here"


# Comparison


def other() -> Report:
    """A later report: a third less gap, one layer renamed, and only M = 64 in common."""
    measured = {32: Estimate(0.012, 0.001), 64: Estimate(0.0049, 0.0002)}
    later = dataclasses.replace(gaps(1.0), measured=measured)
    return dataclasses.replace(
        full(),
        layers=(layer("stem.1", 0.5, share=measured), layer("blocks.9.bn", 0.25, share=measured)),
        network=dataclasses.replace(full().network, gaps=later),
        statistics_batch_sizes=(32, 64),
    )


def test_compared_with_itself_nothing_differs() -> None:
    comparison = full().compare(full())
    assert [(d.layer, d.statistics_batch_size) for d in comparison.differences] == [
        (name, size) for name in ("(network)", *NAMES) for size in (16, 64)
    ]
    assert comparison.of_layers == "shares"
    assert all(d.difference.value == 0 == d.z for d in comparison.differences)
    assert comparison.differences[0].difference.stderr == pytest.approx(0.0011 * 2**0.5)
    assert comparison.only_first == comparison.only_second == ()


def test_compared_at_the_sizes_and_layers_in_common() -> None:
    comparison = full().compare(other())
    assert [(d.layer, d.statistics_batch_size) for d in comparison.differences] == [("(network)", 64), ("stem.1", 64)]
    assert (comparison.only_first, comparison.only_second) == (NAMES[1:], ("blocks.9.bn",))
    first, share = comparison.differences
    assert share.difference.value == pytest.approx(0.00731 / 2 - 0.0049)
    assert first.difference.value == pytest.approx(0.00731 - 0.0049)
    assert first.z == pytest.approx(0.00241 / math.hypot(0.00032, 0.0002))
    frame = comparison.to_frame()
    assert frame.index.names == ["layer", "statistics_batch_size"]
    assert frame.loc[("(network)", 64), "difference"] == pytest.approx(0.00241)
    assert frame.loc[("(network)", 64), "difference_stderr"] == pytest.approx(math.hypot(0.00032, 0.0002))


def test_nothing_in_common() -> None:
    with pytest.raises(UsageError, match=r"different batch sizes \(\(16, 64\) and \(4,\)\); make both with one common"):
        full().compare(bare())


def test_a_difference_without_error_has_no_z() -> None:
    exact = Difference("bn", 16, Estimate(0.0, 0.0), Estimate(0.0, 0.0))
    assert math.isnan(exact.z)


# Prediction


def test_predictions_scale_with_the_variance_of_the_batch_mean() -> None:
    report = full()
    at_source = (2048 - 32) / (32 * 2047)
    fresh = report.predict(8, kind="first_order")
    assert fresh.network.value == pytest.approx(0.0151 / 8 / at_source)
    assert fresh.network.stderr == pytest.approx(0.0004 / 8 / at_source)
    assert (fresh.kind, fresh.sizes, fresh.has_law) == ("first_order", (32,), True)
    assert tuple(fresh.layers) == NAMES
    shuffled = report.predict(8, kind="first_order", population=1000)
    assert shuffled.network.value == pytest.approx(0.0151 * (992 / (8 * 999)) / at_source)
    assert report.predict(32, kind="first_order", population=2048).network == report.network.gaps.first_order
    for kind in (None, "first_order", "two_term"):
        assert report.predict(1000, kind=kind, population=1000).network.value == 0
    assert report.predict(8, kind="fisher").network.value == pytest.approx(0.0137 / 8 / at_source)
    assert report.predict(8, kind="two_term").network.value == pytest.approx(0.0204 / 8 / at_source)
    with pytest.warns(DeprecationWarning, match="kind 'exact' is now called 'first_order'"):
        assert report.predict(8, kind="exact") == fresh
    frame = fresh.to_frame()
    assert tuple(frame.index) == ("(network)", *NAMES)
    assert frame.loc["(network)", "predicted"] == fresh.network.value


def test_layers_are_predicted_by_their_shares_at_the_nearest_size() -> None:
    report = full()
    changed = layer("stem.1", 0.5, share={16: Estimate(0.0156, 0.0006), 64: Estimate(0.0, 0.0)})
    report = dataclasses.replace(report, layers=(changed, *report.layers[1:]))
    for size, part in ((8, 0.5), (31, 0.5), (33, 0.0), (1000, 0.0)):  # 32 is half way between 16 and 64
        predicted = report.predict(size)
        assert predicted.layers["stem.1"].value == pytest.approx(predicted.network.value * part)
        assert predicted.layers["head.bn"].value == pytest.approx(predicted.network.value / -8)
    fresh = report.predict(8, kind="first_order")
    errors = 0.0004 / 0.0151, 0.0006 / 0.0156  # that of the gap is in the share
    assert fresh.layers["stem.1"].stderr == pytest.approx(fresh.layers["stem.1"].value * math.hypot(*errors))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"statistics_batch_size": 1}, "1.*at least 2"),
        (
            {"statistics_batch_size": 64, "population": 50},
            "population is 50, fewer samples than statistics_batch_size 64",
        ),
        (
            {"statistics_batch_size": 64, "kind": "best"},
            "kind 'best' is not known; use one of curve, logits, first_order",
        ),
    ],
)
def test_predictions_that_cannot_be_made(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        full().predict(**arguments)


@pytest.mark.parametrize("kind", ["fisher", "two_term"])
def test_no_fisher_prediction_without_likelihood(kind: str) -> None:
    with pytest.raises(
        UsageError, match=f"no '{kind}' prediction: .*likelihood=.*; make the report so, or use another kind"
    ):
        bare().predict(4, kind=kind)


# Frames and access


def test_frame() -> None:
    frame = full().to_frame()
    assert list(frame.index) == [(n, m) for n in ("(network)", *NAMES) for m in (16, 64)]
    columns = [
        "measured",
        "share",
        "predicted",
        "ratio",
        "logits",
        "first_order",
        "fisher",
        "two_term",
        "effective_samples_mean",
        "kurtosis",
        "stale_std",
    ]
    assert {name for column in columns for name in (column, f"{column}_stderr")} < set(frame.columns)
    row = frame.loc[("stem.1", 64)]
    assert row["measured"] == 0.00731 / 2
    assert row["measured_stderr"] == 0.00032 / 2
    assert row["ratio"] == pytest.approx(row["predicted"] / row["measured"])
    parts = row["measured_stderr"] / row["measured"], row["predicted_stderr"] / row["predicted"]
    assert row["ratio_stderr"] == pytest.approx(row["ratio"] * math.hypot(*parts))
    scale = (2048 - 64) / (64 * 2047) / ((2048 - 32) / (32 * 2047))
    assert row["first_order"] == pytest.approx(0.0151 / 2 * scale)
    assert (row["channels"], row["pixels"], row["dead_channels"], row["gamma_rms"]) == (64, 256, 0, 0.8125)
    assert (row["share"], row["share_stderr"]) == (0.00731 / 2, 0.00041 / 2)
    assert row["two_term"] == pytest.approx(0.0204 / 2 * scale)
    assert frame.loc[("(network)", 16), ["channels", "share"]].isna().all()
    row = frame.loc[("head.bn", 16)]  # not asked for alone
    assert math.isnan(row["measured"])
    assert row["share"] == -0.0312 / 8


def test_per_cent_of_the_gap() -> None:
    report = full()
    part = report.share_of_gap(report["head.bn"], 16)
    assert part is not None
    assert part.value == pytest.approx(-0.125)
    assert part.stderr == pytest.approx(0.125 * 0.0012 / 0.0312)  # the gap taken as exact: it is of the same groups
    faint = Gaps({16: Estimate(0.01, 0.005), 64: Estimate(0.0, 0.0)}, Estimate(0.0, 0.0), None, None, 32, 2048)
    report = dataclasses.replace(report, network=dataclasses.replace(report.network, gaps=faint))
    assert [report.share_of_gap(report["head.bn"], size) for size in (16, 64)] == [None, None]
    assert all(text in report.to_html() for text in ("Shares of the layers", "(not attributed)", "Layers alone"))


def test_a_negative_gap_is_drawn() -> None:
    positive = full().plot()
    network = dataclasses.replace(full().network, gaps=gaps(-1.0))
    negative = dataclasses.replace(full(), network=network).plot()
    assert (positive.layout.yaxis.type, negative.layout.yaxis.type) == ("log", "linear")
    for before, after in zip(positive.data, negative.data, strict=True):
        if before.fill is None and before.line.width != 0:  # not an edge of the band
            values, opposite = (dict(zip(trace.x, trace.y, strict=True)) for trace in (before, after))
            assert opposite == {size: -values[size] for size in opposite}
            assert (min(opposite), max(opposite)) >= (16, 64)
    measured = next(trace for trace in negative.data if trace.name == "measured")
    assert measured.y == (-0.0312, -0.00731)


def test_page_has_the_parts_that_a_report_has() -> None:
    anchors = {"mend", "network", "layers", "alone", "descriptions", "notes", "details"}
    for report, missing in ((full(), set()), (bare(), {"mend", "layers", "alone", "notes"})):
        page = report.to_html()
        assert {name for name in anchors if f'id="{name}"' in page} == anchors - missing
    assert "-12.5" in full().to_html()
    with pytest.raises(UsageError, match=r"no gaps of layer 'head.bn'; make one with alone=True"):
        full().plot("head.bn")


def test_frame_of_what_is_missing() -> None:
    frame = bare().to_frame()
    assert list(frame.index) == [("(network)", 4)]
    assert frame.loc[("(network)", 4), ["fisher", "measured_stderr"]].isna().all()


def test_layers_by_name() -> None:
    assert full()["blocks.0.bn"].dead_channels == 3
    with pytest.raises(UsageError, match=r"no layer 'bn1'; it has stem.1, blocks.0.bn, head.bn"):
        full()["bn1"]
    assert full()["(network)"] == full().network
    assert full().plot("(network)") == full().plot()


# Estimates


def test_estimates_combine_as_independent() -> None:
    first, second = Estimate(3.0, 0.3), Estimate(2.0, 0.4)
    assert first + second == Estimate(5.0, 0.5)
    assert first - second == Estimate(1.0, 0.5)
    assert first * -2 == Estimate(-6.0, 0.6)
    assert first.over(second).value == 1.5
    assert first.over(second).stderr == pytest.approx(1.5 * math.hypot(0.1, 0.2))
    assert math.isnan(first.over(Estimate(0.0, 0.1)).value)
    assert str(first) == "3.00 ± 0.30"


def test_mean_of_one_value_has_no_error() -> None:
    single, pair = mean_estimate(torch.tensor([2.0])), mean_estimate(torch.tensor([1.0, 3.0]))
    assert single.value == 2
    assert math.isnan(single.stderr)
    assert pair == Estimate(2.0, 1.0)


def test_ratio_only_where_there_is_a_gap() -> None:
    gaps = full().network.gaps
    size = next(iter(gaps.measured))
    measured = gaps.measured[size]
    faint = dataclasses.replace(gaps, measured={size: Estimate(measured.value, measured.value / 2)})
    assert faint.ratio(size) is None
    predicted = gaps.predicted(size, population=gaps.population)
    assert predicted is not None
    assert gaps.ratio(size) == predicted.over(measured)


def test_over_a_gap_of_zero_layers_are_predicted_by_nothing() -> None:
    report = full()
    gaps = dataclasses.replace(report.network.gaps, measured={16: Estimate(0.0, 0.0), 64: Estimate(0.0, 0.0)})
    report = dataclasses.replace(report, network=dataclasses.replace(report.network, gaps=gaps))
    assert math.isnan(report.predict(16).layers["stem.1"].value)
