import dataclasses
import math
import warnings

import pytest
import torch
from torch import nn

import bnlens
from bnlens.errors import DataError, LossError, StoreError, UsageError
from bnlens.nn import CurvaturePenalty
from bnlens.train import ImageData, build_net, fit


class Cut(Exception):  # noqa: N818 - not an error of anybody's
    pass


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(70, 1, 8, 8, generator=generator)
    return ImageData(images, torch.arange(70) % 3, ("a", "b", "c"), "toy", "train", (0.0,), (1.0,))


def make_net(data, name="cnn", M=None, **options):
    net = build_net(name, input_shape=data.input_shape, num_classes=data.num_classes, width=4, **options)
    return net if M is None else bnlens.convert(net, statistics_batch_size=M)


def cut_after(step):
    def observe(done, _steps, _loss, _model):
        if done == step:
            raise Cut

    return observe


RUNS = {
    "sgd": ({}, {}),
    "augmented": ({}, {"augment": True}),
    "dropout": ({"dropout": 0.5}, {}),
    "adam": ({}, {"optimizer": "adam"}),
    "window": ({"M": 64}, {"statistics_batch_size": 64, "device_batch_size": 8, "recalibrate": False}),
    "shared": (
        {"M": 16, "dropout": 0.3}, {"statistics_batch_size": 16, "device_batch_size": 4, "share_statistics": True},
    ),
    "population window": ({"M": 64}, {"statistics_batch_size": math.inf, "device_batch_size": 16}),
    "bf16": ({}, {"precision": "bf16"}),
    "all": ({"M": 64, "dropout": 0.3}, {
        "statistics_batch_size": 64, "device_batch_size": 16, "augment": True, "optimizer": "adam", "schedule": "step",
    }),
}  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("cut", [3, 4, 6])  # two steps make an epoch, and the file is written every second or third
def test_a_run_that_is_cut_ends_bit_for_bit_as_one_that_is_not(tmp_path, data, run, cut):
    build, options = RUNS[run]
    options = {"batch_size": 32, "steps": 9, "recalibrate": True} | options
    whole = make_net(data, **build)
    history = fit(whole, data, **options)
    path, every = tmp_path / "folder" / "run.pt", 3 - cut % 2
    saving = {"checkpoint": path, "checkpoint_every": every}
    with pytest.raises(Cut):
        fit(make_net(data, **build), data, observe=cut_after(cut), **saving, **options)
    assert path.is_file()
    observed = []
    again = make_net(data, **build)
    torch.manual_seed(123)  # what another program would have drawn
    resumed = fit(again, data, observe=lambda *call: observed.append(call[0]), **saving, **options)
    assert observed == list(range((cut - 1) // every * every + 1, 10))
    assert 1 < observed[0] <= cut
    assert resumed == history
    assert not path.exists()
    for name, tensor in {**whole.state_dict(), **dict(whole.named_buffers())}.items():
        assert torch.equal({**again.state_dict(), **dict(again.named_buffers())}[name], tensor), name


def test_a_regularised_run_goes_on_too(tmp_path, data):
    results = []
    for cut in (False, True):
        nets = [make_net(data, M=math.inf) for _ in range(1 + cut)]
        options = {"statistics_batch_size": math.inf, "device_batch_size": 16}
        if cut:
            start(tmp_path, data, nets[0], regulariser=CurvaturePenalty(nets[0], 8), **options)
        options |= {"batch_size": 32, "steps": 5, "checkpoint": tmp_path / "run.pt"}
        results.append(fit(nets[-1], data, regulariser=CurvaturePenalty(nets[-1], 8), **options))
    assert results[0] == results[1]


def test_is_written_once_an_epoch_unless_told_otherwise(tmp_path, data):
    path, seen = tmp_path / "run.pt", []
    fit(
        make_net(data), data, batch_size=32, epochs=3, checkpoint=path,
        observe=lambda *_: seen.append(path.read_bytes() if path.exists() else b""),
    )  # fmt: skip
    # seen before the writing of the same step, which comes after steps 2 and 4 of 6
    assert seen[0] == seen[1] == b"" != seen[2] == seen[3] != seen[4] == seen[5]
    assert list(tmp_path.iterdir()) == []


def start(tmp_path, data, net=None, **options):
    path = tmp_path / "run.pt"
    options = {"batch_size": 32, "steps": 5, "checkpoint": path, "checkpoint_every": 1} | options
    with pytest.raises(Cut):
        fit(net or make_net(data), data, observe=cut_after(3), **options)
    return path


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"lr": 0.2}, "lr was 0.0375 and is 0.2"),
        ({"steps": 6}, "steps was 5 and is 6"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"augment": True}, "augment was False and is True"),
        ({"optimizer": "adam"}, "lr was 0.0375 and is 0.001; optimizer was sgd and is adam"),
        ({"schedule": "step", "momentum": 0.5}, "momentum was 0.9 and is 0.5; schedule was cosine and is step"),
        ({"precision": "bf16"}, "precision was no and is bf16"),
        ({"statistics_batch_size": 8}, "device_batch_size was 16 and is 8; statistics_batch_size was 16 and is 8"),
    ],
)
def test_another_configuration_is_refused(tmp_path, data, options, difference):
    path = start(tmp_path, data)
    before = path.read_bytes()
    net = make_net(data)
    weights = net.fc.weight.detach().clone()
    with pytest.raises(UsageError) as raised:
        fit(net, data, checkpoint=path, **({"batch_size": 32, "steps": 5} | options))
    found = str(raised.value)
    assert found.startswith(f"the checkpoint {path} is of another run: ")
    assert sorted(found.partition("another run: ")[2].split("; ")[:-1]) == sorted(difference.split("; "))
    assert path.read_bytes() == before
    assert torch.equal(net.fc.weight, weights)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda net, data: (nn.Sequential(net), data), "another model"),
        (lambda net, data: (make_net(data, dropout=0.5), data), "another model"),
        (lambda net, data: (make_net(data, seed=1), data), "other initial weights"),
        (lambda net, data: (net, dataclasses.replace(data, images=data.images + 1e-3)), "other data"),
        (lambda net, data: (net, dataclasses.replace(data, labels=(data.labels + 1) % 3)), "other data"),
    ],
)
def test_another_model_or_other_data_are_refused(tmp_path, data, change, difference):
    path = start(tmp_path, data)
    net, other = change(make_net(data), data)
    with pytest.raises(UsageError, match=f"of another run: {difference}; run with what it was begun with, delete it"):
        fit(net, other, batch_size=32, steps=5, checkpoint=path)


def test_another_regulariser_is_refused(tmp_path, data):
    nets = [make_net(data, M=math.inf) for _ in range(2)]
    options = {"statistics_batch_size": math.inf, "device_batch_size": 16}
    path = start(tmp_path, data, nets[0], regulariser=CurvaturePenalty(nets[0], 8), **options)
    options |= {"regulariser": CurvaturePenalty(nets[1], 16), "batch_size": 32, "steps": 5}
    with pytest.raises(UsageError, match=r"regulariser was CurvaturePenalty\(.*=8\) and is CurvaturePenalty\(.*=16\)"):
        fit(nets[1], data, checkpoint=path, **options)


@pytest.mark.parametrize("length", [0, 100, 3000])
def test_a_damaged_file_is_refused(tmp_path, data, length):
    path = start(tmp_path, data)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"run\.pt is not a readable checkpoint of a run; delete it to start anew"):
        fit(make_net(data), data, batch_size=32, steps=5, checkpoint=path)


def test_weights_are_no_checkpoint_of_a_run(tmp_path, data):
    path = bnlens.train.save_checkpoint(make_net(data), tmp_path / "weights.pt")
    with pytest.raises(DataError, match=r"weights\.pt is no checkpoint of a run of fit; give another path"):
        fit(make_net(data), data, batch_size=32, steps=5, checkpoint=path)


def test_code_in_the_file_does_not_run(tmp_path, data):
    class Runs:
        def __reduce__(self):
            return warnings.warn, ("it ran",)

    torch.save({"format": "bnlens run 2", "configuration": Runs()}, tmp_path / "run.pt")
    with pytest.raises(DataError, match="is not a readable checkpoint"):
        fit(make_net(data), data, batch_size=32, steps=5, checkpoint=tmp_path / "run.pt")


def test_a_place_that_cannot_be_written_is_named_before_the_work(tmp_path, data):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        fit(
            make_net(data), data, batch_size=32, checkpoint=tmp_path / "file" / "run.pt",
            observe=lambda *_: pytest.fail("a step was taken"),
        )  # fmt: skip


def test_stays_after_an_error(tmp_path, data):
    path = tmp_path / "run.pt"
    with pytest.raises(LossError):
        fit(make_net(data), data, batch_size=32, steps=40, lr=1e20, checkpoint=path, checkpoint_every=1)
    assert path.is_file()
