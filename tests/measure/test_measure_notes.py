"""Which layers count as frozen, and one note of each kind for all the layers that it is about."""

import copy
import dataclasses
import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measure_cases import CLASSES, Wrapped, batches, data, mlp, plain, seeded
from torch import Tensor, nn

import bnlens
from bnlens.errors import ModelError
from bnlens.measure import Note, Report

GOLDEN = Path(__file__).parent / "golden"


def report_on(model: nn.Module, loader: Any = None, **options: Any) -> Report:
    chosen: dict[str, Any] = {"statistics_batch_size": (4, 8), "rounds": 1} | options
    return bnlens.report(model, plain() if loader is None else loader, F.cross_entropy, **chosen)


def the_note(report: Report, kind: str) -> Note:
    (note,) = (note for note in report.notes if note.kind == kind)
    return note


# Frozen layers


class Normalize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((5,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean


class FixedNormalize(nn.Module):
    """The same with its mean as a parameter that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.full((5,), 0.1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean


class Temperature(Wrapped):
    """A wrapper that trains something itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, lambda y: y / self.temperature)
        self.temperature = nn.Parameter(torch.ones(()))


def evaluated() -> nn.Module:
    return seeded(mlp)().eval()


def averaged() -> nn.Module:
    return torch.optim.swa_utils.AveragedModel(evaluated())


EVALUATED: dict[str, Callable[[], nn.Module]] = {
    "in eval mode": evaluated,
    "behind a normalisation": lambda: nn.Sequential(Normalize(), evaluated()),
    "behind one with fixed parameters": lambda: nn.Sequential(FixedNormalize(), evaluated()),
    "in a wrapper": lambda: Wrapped(evaluated(), lambda y: y),
    "in DataParallel in a wrapper": lambda: Wrapped(nn.DataParallel(evaluated()), lambda y: y),
    "averaged": averaged,
    "with dropout": lambda: nn.Sequential(evaluated(), nn.Dropout(0.5)),
    "without gradients": lambda: Wrapped(evaluated(), lambda y: y).requires_grad_(False),
}


@pytest.mark.parametrize("name", EVALUATED)
def test_an_evaluated_model_in_a_container_has_no_frozen_layer(name: str) -> None:
    loader = [(x + 0.1, y) for x, y in plain()] if "normalisation" in name or "fixed" in name else plain()
    found = report_on(EVALUATED[name](), loader).network.gaps.measured[4]
    expected = report_on(evaluated()).network.gaps.measured[4]
    assert found.value == pytest.approx(expected.value, abs=1e-6)
    model = EVALUATED[name]()
    assert bnlens.recalibrate(model, loader).layers == 2


def head_trains() -> nn.Module:
    backbone = seeded(mlp)()[:6].eval().requires_grad_(False)
    return nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), backbone, nn.Linear(4, CLASSES))


def layer_frozen(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model = seeded(mlp)().train()
        model.get_submodule(name).eval()
        return model

    return make


FROZEN: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "a backbone beside a head": (head_trains, ("2.1", "2.4")),
    "one layer": (layer_frozen("4"), ("4",)),
    "one layer of a model without gradients": (lambda: layer_frozen("4")().requires_grad_(False), ("4",)),
    "one layer of a copy": (lambda: copy.deepcopy(layer_frozen("1")()), ("1",)),
}


@pytest.mark.parametrize("name", FROZEN)
def test_layers_in_eval_mode_beside_what_is_trained_are_frozen(name: str) -> None:
    make, frozen = FROZEN[name]
    report = report_on(make())
    assert the_note(report, "frozen").layers == frozen
    assert not {layer.name for layer in report.layers} & set(frozen)
    model = make()
    before = copy.deepcopy(model)
    bnlens.recalibrate(model, plain())
    moved = {
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.BatchNorm1d)
        if not torch.equal(layer.running_mean, before.get_submodule(name).running_mean)
    }
    assert moved == {layer.name for layer in report.layers}


def test_a_wrapper_that_trains_something_itself_is_told_how_to_have_its_model_evaluated() -> None:
    with pytest.raises(ModelError, match=r"all are frozen; .* call .eval\(\) on the whole model"):
        report_on(Temperature(evaluated()))
    assert len(report_on(Temperature(evaluated()).eval()).layers) == 2


# One note for several layers


class Deep(nn.Module):
    """Five BN layers of four channels."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(5 if i == 0 else 4, 4), nn.BatchNorm1d(4)) for i in range(5)]
        )
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.tanh(block(x))
        return self.head(x)


NAMES = tuple(f"blocks.{i}.1" for i in range(5))


def deep() -> nn.Module:
    return seeded(Deep)().train()


def normalizations(model: nn.Module) -> list[nn.BatchNorm1d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]


@pytest.mark.parametrize(
    ("number", "place"),
    [
        (1, "blocks.0.1"),
        (2, "2 layers (blocks.0.1 and blocks.1.1)"),
        (4, "4 layers (blocks.0.1, blocks.1.1, blocks.2.1 and blocks.3.1)"),
        (5, "5 layers (blocks.0.1, blocks.1.1, blocks.2.1 and 2 more)"),
    ],
)
def test_layers_without_gradient_have_one_note(number: int, place: str) -> None:
    model = deep()
    for layer in normalizations(model)[:number]:
        layer.requires_grad_(False)
    report = report_on(model)
    note = the_note(report, "moving statistics")
    assert note.layers == NAMES[:number]
    assert note.layer == (NAMES[0] if number == 1 else "")
    assert note.place == place
    assert note.text.startswith("has " if number == 1 else "have ")
    box = " ".join(repr(report).replace("│", " ").split())
    assert f"- {place}: {note.text}" in box
    assert all(html.escape(words) in report.to_html() for words in (place, note.text))


def test_frozen_layers_have_one_note() -> None:
    model = deep()
    for layer in normalizations(model)[1:4]:
        layer.eval()
    note = the_note(report_on(model), "frozen")
    assert note.layers == NAMES[1:4]
    assert note.text.startswith("are frozen (eval mode in a model in train mode): they normalise by")


def test_dead_channels_are_added_up_and_the_worst_layer_is_named() -> None:
    model = deep()
    with torch.no_grad():
        for layer, dead in zip(normalizations(model), (1, 0, 3, 2, 0), strict=True):
            layer.weight[:dead] = 0
    note = the_note(report_on(model), "dead channels")
    assert note.layers == (NAMES[0], NAMES[2], NAMES[3])
    assert note.text.startswith("6 of 12 channels have")
    assert "the most in 'blocks.2.1', 3 of 4" in note.text


def test_stale_statistics_name_the_worst_layers() -> None:
    model = deep()
    bnlens.recalibrate(model, plain())
    normalizations(model)[1].running_mean += 1 * normalizations(model)[1].running_var.sqrt()
    normalizations(model)[3].running_mean += 4 * normalizations(model)[3].running_var.sqrt()
    normalizations(model)[4].running_var *= 16
    report = report_on(model)
    note = next(note for note in report.notes if note.kind == "stale statistics" and note.layers)
    assert note.layers == (NAMES[1], NAMES[3], NAMES[4])
    assert f"mean by up to {report[NAMES[3]].stale_mean} sigma (in 'blocks.3.1')" in note.text
    assert f"log sigma by up to {report[NAMES[4]].stale_std} (in 'blocks.4.1'; rms" in note.text
    assert report[NAMES[3]].stale_mean.value == pytest.approx(4, rel=0.05)
    assert report[NAMES[4]].stale_std.value == pytest.approx(1.386, rel=0.05)


def test_two_stale_layers_have_each_its_own_numbers() -> None:
    model = deep()
    bnlens.recalibrate(model, plain())
    for index, distance in ((1, 1), (3, 4)):
        normalizations(model)[index].running_mean += distance * normalizations(model)[index].running_var.sqrt()
    report = report_on(model)
    notes = [note for note in report.notes if note.kind == "stale statistics" and note.layers]
    assert [note.layer for note in notes] == [NAMES[1], NAMES[3]]
    for note in notes:
        assert f"mean by {report[note.layer].stale_mean} sigma, log sigma" in note.text


def test_weight_decay_is_added_up() -> None:
    model = deep()
    gammas = [layer.weight for layer in normalizations(model)]
    with torch.no_grad():
        gammas[2] *= 3
    groups = [{"params": gammas[:2], "weight_decay": 0.1}, {"params": gammas[2:3], "weight_decay": 0.2}]
    report = report_on(model, optimizer=torch.optim.SGD([*groups, {"params": gammas[3:]}], 0.1))
    note = the_note(report, "weight decay")
    added = [
        coefficient / 2 * float(g.detach().square().sum())
        for coefficient, g in zip((0.1, 0.1, 0.2), gammas, strict=False)
    ]
    assert note.layers == NAMES[:3]
    assert f"weight decay 0.1 and 0.2 on gamma adds {sum(added):.4g} nats in all" in note.text
    assert (
        f"at M = 4; the most in 'blocks.2.1', {added[2]:.4g} nats beside {report[NAMES[2]].share[4]} nats" in note.text
    )


def test_calls_of_shared_layers_have_one_note() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.BatchNorm1d(5), nn.BatchNorm1d(5), nn.Linear(5, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.b(torch.tanh(self.b(torch.tanh(self.a(self.b(self.a(x)))))))))

    note = the_note(report_on(seeded(Shared)()), "shared layer")
    assert note.layers == ("a#2", "b#2", "b#3")
    assert "up to call 3, of 'b'" in note.text


def test_layers_that_no_gradient_reaches_have_one_note() -> None:
    note = the_note(report_on(nn.Sequential(Detached(), seeded(mlp)())), "no gradient")
    assert note.layers == ("0.net.1", "0.net.4")
    assert note.text.startswith("get no gradient, because their outputs are unused")


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(mlp)()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x).detach().mean(1, keepdim=True)


def test_a_deep_net_has_no_two_notes_of_one_kind_about_layers() -> None:
    model = seeded(lambda: nn.Sequential(*(nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.ReLU()) for _ in range(12)), nn.Linear(5, 3)))()  # fmt: skip  # noqa: E501
    for index, layer in enumerate(normalizations(model)):
        layer.requires_grad_(index % 2 == 0)
    x, y = data(5, size=96)
    report = report_on(
        model, batches(3 * x, y, size=48), optimizer=torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.01)
    )
    kinds = [note.kind for note in report.notes if note.layers]
    assert len(kinds) == len(set(kinds)) >= 3


def test_notes_are_read_back_and_those_of_earlier_reports_are_read() -> None:
    model = deep()
    for layer in normalizations(model)[:3]:
        layer.requires_grad_(False)
    report = report_on(model)
    assert Report.loads(report.to_json()).notes == report.notes
    document = json.loads((GOLDEN / "schema1.json").read_text())
    document["notes"] = [{"kind": "frozen", "layer": "1", "text": "is frozen"}]
    (note,) = Report.loads(json.dumps(document)).notes
    assert dataclasses.asdict(note) == {"kind": "frozen", "layer": "1", "text": "is frozen", "layers": ()}
    assert note.place == "1"
