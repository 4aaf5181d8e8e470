"""The answer that a report opens with: its sentences, the order of what is wrong, and notes on what it can be trusted for."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import data, mlp, plain
from measure_reports import bare, full, layer
from torch import nn

import bnlens
from bnlens.errors import UsageError
from bnlens.measure import Estimate, Gaps, NetworkResult, Note, Report

LAW = 16  # G = LAW / M


def with_gaps(gaps: Gaps, loss: float = 0.5, **changes: Any) -> Report:
    network = NetworkResult(gaps, Estimate(loss, 0.01), None)
    return dataclasses.replace(
        full(), **{"network": network, "notes": (), "layers": (), "stopped": "precision"} | changes
    )


def following_the_law(sign: float = 1.0, sizes: tuple[int, ...] = (8, 32), others: tuple[int, ...] = (4, 16)) -> Gaps:
    """Gaps of c f with f the variance of a batch mean in a pool of 4,000; known to a hundredth."""
    found = {M: Estimate(sign * LAW * 1e-3 * (4000 - M) / (M * 3999), LAW * 1e-5 / M) for M in (*sizes, *others)}
    return Gaps({M: found[M] for M in sizes}, None, None, None, 16, 4000, {M: found[M] for M in others})


def sentences(report: Report) -> str:
    """Return the first paragraph of the text, in one line."""
    return " ".join(report.table().partition("\n\n")[0].split())


def test_the_answer_has_the_gap_its_part_of_the_loss_and_the_layers_that_carry_it() -> None:
    shares = {
        name: {8: Estimate(part * 2e-3, 1e-5)} for name, part in (("a", 0.1), ("b", 0.55), ("c", 0.3), ("d", 0.05))
    }
    layers = tuple(layer(name, 1.0, gaps=None, share=share) for name, share in shares.items())
    said = sentences(with_gaps(following_the_law(), samples=4000, layers=layers, statistics_batch_sizes=(8, 32)))
    gap = LAW * 1e-3 * (4000 - 8) / (8 * 3999)
    assert said.startswith(
        f"BN at M = 8 adds {Estimate(gap, 2e-5)} nats per sample to the training loss of ResNet, 0.4% of the 0.5"
    )
    parts = [100 * part * 2e-3 / gap for part in (0.55, 0.3)]
    assert f"; b ({parts[0]:.0f}%) and c ({parts[1]:.0f}%), of 4 layers, carry {sum(parts):.0f}% of it. " in said


def test_one_layer_that_carries_nearly_all_is_named_alone() -> None:
    layers = tuple(
        layer(name, 1.0, gaps=None, share={8: Estimate(part * 2e-3, 1e-6)}) for name, part in (("a", 0.9), ("b", 0.1))
    )
    said = sentences(with_gaps(following_the_law(), layers=layers, statistics_batch_sizes=(8, 32)))
    assert "; a carries 90% of it." in said


def test_half_and_twice_the_size_within_two_standard_errors() -> None:
    report = with_gaps(following_the_law(others=(4, 16, 64)), samples=4000, statistics_batch_sizes=(8, 32))
    said = sentences(report)
    low = {M: report.predict(M, population=4000).network for M in (4, 16)}
    assert all(math.isclose(low[M].value, LAW * 1e-3 * (4000 - M) / (M * 3999), rel_tol=1e-9) for M in (4, 16))
    for M, found in low.items():
        ends = said.rpartition(f" nats at M = {M}")[0].split()[-3:]
        assert ends[1] == "to"
        for end, sign in ((ends[0], -1), (ends[2], 1)):  # rounded to two digits of the error
            assert float(end) == pytest.approx(found.value + sign * 2 * found.stderr, abs=0.1 * found.stderr)
    assert said.endswith("(predicted, within two standard errors).")


def test_a_measured_size_is_not_predicted_and_sizes_that_cannot_be_are_left_out() -> None:
    said = sentences(
        with_gaps(following_the_law(sizes=(2, 4), others=(8,)), samples=4000, statistics_batch_sizes=(2, 4))
    )
    assert "would be" not in said
    assert "M = 1 " not in said
    assert said.endswith(f"It is {Estimate(LAW * 1e-3 * 3996 / (4 * 3999), LAW * 1e-5 / 4)} nats at M = 4 (measured).")


def test_where_there_is_no_law_the_answer_says_so() -> None:
    loose = dataclasses.replace(following_the_law(), kurtosis=50.0)
    steep = {4: Estimate(0.1, 1e-4), 8: Estimate(0.002, 1e-5), 16: Estimate(0.0019, 1e-5), 32: Estimate(1e-4, 1e-5)}
    gaps = dataclasses.replace(loose, measured={M: steep[M] for M in (8, 32)}, others={M: steep[M] for M in (4, 16)})
    said = sentences(with_gaps(gaps, samples=4000, statistics_batch_sizes=(8, 32)))
    assert "No law says what it would be at M = 4 or 16: measure there." in said
    assert "would be" not in said.partition("No law")[0]


def test_a_gap_that_is_negative_or_cannot_be_told_from_nothing() -> None:
    said = sentences(with_gaps(following_the_law(-1.0), samples=4000, statistics_batch_sizes=(8, 32)))
    assert said.startswith("BN at M = 8 takes 0.00")
    assert "off the training loss of ResNet" in said
    assert "-0.00" in said.partition("It would be")[2]
    faint = Gaps({8: Estimate(0.002, 0.001)}, None, None, None, 16, 4000)
    said = sentences(with_gaps(faint, statistics_batch_sizes=(8,)))
    assert "changes the training loss of ResNet by 0.0020 ± 0.0010 nats per sample, which may be nothing." in said
    assert "; there are too few groups to know its error." in sentences(bare())


def test_a_loss_that_is_no_more_than_zero_has_no_per_cent() -> None:
    said = sentences(with_gaps(following_the_law(), loss=-1.5, statistics_batch_sizes=(8, 32)))
    assert "%" not in said


# What is wrong


KINDS = ("frozen", "no law", "stale statistics", "a kind of a later version", "random weights", "dead channels")


def test_what_is_wrong_comes_before_the_numbers_by_its_weight_and_with_its_command() -> None:
    notes = [Note(kind, "", f"about {kind}") for kind in KINDS]
    notes.insert(2, Note("stale statistics", "bn", "about a layer"))
    report = dataclasses.replace(full(), notes=tuple(notes))
    shown = [
        "about random weights", "model.load_state_dict", "about stale statistics", "bnlens.recalibrate(model, loader)",
        "bn: about a layer", "bnlens.recalibrate(model, loader)", "about no law", "about a kind of a later version",
        "measured", "about frozen", "about dead channels",
    ]  # fmt: skip
    for text in (report.table(), report.table(verbose=True)):
        place = 0
        for words in shown:
            place = text.index(words, place)
    page = report.to_html()
    assert page.index("about random weights") < page.index("about no law") < page.index('id="network"')
    assert page.index('id="network"') < page.index("about frozen")


@pytest.mark.parametrize("width", [40, 57, 80, 120])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_asked_for(width: int, verbose: bool) -> None:
    name = "model.backbone.stages.3.blocks.17.downsample.normalisation.bn"
    notes = (Note("stale statistics", name, "x" * 300), Note("frozen", "", "about it", (name, "a", "b")))
    long = dataclasses.replace(full(), layers=(layer(name, 0.5), *full().layers), notes=notes)
    for report in (full(), bare(), long):
        text = report.table(verbose=verbose, width=width)
        assert max(map(len, text.splitlines())) <= width
    assert name in "".join(line.split(" ")[0] for line in text.splitlines())  # folded, not cut


def test_all_numbers_are_in_the_verbose_text() -> None:
    whole = full().table(verbose=True, width=80).split()
    for number in ("0.02762", "0.04112", "6.12", "0.8125", "0.01560", "1.03"):
        assert number in whole
    assert "0.02762" not in full().table(width=120).split()


@pytest.mark.parametrize("width", [39, 0, -1, 80.5, "80", True])
def test_a_width_that_is_none(width: Any) -> None:
    with pytest.raises(UsageError, match=r"width is .*; it must be an integer of at least 40"):
        full().table(width=width)


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, width in ((60, 60), (20, 40), (300, 120)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert repr(full()) == full().table(width=width)


def test_a_notebook_shows_the_answer_what_is_wrong_and_the_tables_without_scripts() -> None:
    notes = (Note("stale statistics", "<bn>", "far off"),)
    shown = dataclasses.replace(full(), notes=notes, model="<script>Net")._repr_html_()
    order = [
        "BN at M = 16 adds",
        "&lt;bn&gt;",
        "bnlens.recalibrate(model, loader)",
        "Whole network",
        "head.bn",
        "2048 samples",
    ]
    assert [shown.index(words) for words in order] == sorted(shown.index(words) for words in order)
    assert "<script" not in shown
    assert len(shown) < 20_000


# Notes on what the numbers can be trusted for


def trained(model: nn.Module) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in plain():
        optimizer.zero_grad()
        F.cross_entropy(model.train()(x), y).backward()
        optimizer.step()
    return model


def seen(model: nn.Module) -> nn.Module:
    """Without training, after a pass in train mode."""
    model.train()(data(5)[0])
    return model


def loaded_without_counts(model: nn.Module) -> nn.Module:
    """With weights of a checkpoint that counts no batches."""
    for module in trained(model).modules():
        if isinstance(module, nn.BatchNorm1d):
            module.num_batches_tracked.zero_()
    return model


def reset(model: nn.Module) -> nn.Module:
    """Trained, with running statistics made anew."""
    for module in trained(model).modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
    return model


WEIGHTS: dict[str, tuple[Callable[[nn.Module], nn.Module], bool]] = {
    "new": (lambda model: model, True),
    "new and converted": (bnlens.convert, True),
    "trained": (trained, False),
    "seen": (seen, False),
    "loaded without counts": (loaded_without_counts, False),
    "trained and reset": (reset, False),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_random_weights_are_said(name: str) -> None:
    change, random = WEIGHTS[name]
    model = change(mlp())
    report = bnlens.report(model, plain(), F.cross_entropy, statistics_batch_size=4, rounds=1)
    assert ("random weights" in [note.kind for note in report.notes]) == random
    assert ("the weights seem to be random" in " ".join(repr(report).replace("│", " ").split())) == random


def test_a_negative_gap_and_few_samples_are_said() -> None:
    """A network of one BN layer whose output is the loss: sigma_B is below sigma_P, most of all in small groups."""

    def loss(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return -output.square().square().mean(1)  # E y^4 is less under sigma_B than under sigma_P, for heavy tails

    torch.manual_seed(0)
    x = torch.randn(256, 3) ** 3
    loader = [(x, torch.zeros(256))]
    report = bnlens.report(nn.BatchNorm1d(3), loader, loss, statistics_batch_size=(4, 64), rounds=8)
    z = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    groups = x.view(64, 4, 3)
    own = (groups - groups.mean(1, keepdim=True)) / (groups.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    kinds = {note.kind: note.text for note in report.notes}
    expected = float(-own.pow(4).mean() + z.pow(4).mean())
    assert (expected < 0) == ("negative gap" in kinds)
    assert "256 samples are few for M = 64" in kinds["few samples"]
    assert f"{63 / 255:.0%} below" in kinds["few samples"]
    enough = bnlens.report(nn.BatchNorm1d(3), loader, loss, statistics_batch_size=4, rounds=8)
    assert "few samples" not in [note.kind for note in enough.notes]
