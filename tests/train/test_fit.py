import copy
import dataclasses
import itertools
import math
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import bnlens
from bnlens.errors import DataError, LossError, ModelError, UsageError
from bnlens.train import ImageData, build_net, evaluate, fit, load_data


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(70, 1, 4, 4, generator=generator)
    return ImageData(images, torch.arange(70) % 3, ("a", "b", "c"), "toy", "train", (0.0,), (1.0,))


def make_net(data, name="cnn"):
    return build_net(name, input_shape=data.input_shape, num_classes=data.num_classes, width=4)


def test_batch_normalization_sees_the_statistics_batch(data):
    net, sizes = make_net(data), []
    net.blocks[0][1].register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    history = fit(net, data, statistics_batch_size=8, batch_size=32, epochs=3, recalibrate=False)
    assert sizes == [8] * (3 * 2 * 4)
    assert history.steps == 3 * 2


@pytest.mark.parametrize("M", [4, 16, 64, math.inf])
def test_the_device_batch_is_set_apart_from_the_statistics_batch(data, M):
    net, sizes = bnlens.convert(make_net(data)), []
    layer = net.blocks[0][1]
    layer.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    history = fit(net, data, statistics_batch_size=M, device_batch_size=8, batch_size=32, steps=3, recalibrate=False)
    assert sizes == [8] * (3 * 4)
    assert layer.statistics_batch_size == M
    assert (history.statistics_batch_size, history.device_batch_size) == (M, 8)


def test_ghost_groups_train_as_batches_of_their_size_do(data):
    results = []
    for device in (None, 8, 32):
        net = make_net(data)
        if device is not None:
            bnlens.convert(net)
        fit(net, data, statistics_batch_size=8, device_batch_size=device, batch_size=32, steps=4, lr=0.1)
        results.append(net.state_dict())
    for other in results[1:]:
        for name in ("fc.weight", "blocks.0.0.weight", "blocks.1.1.weight", "blocks.1.1.running_var"):
            torch.testing.assert_close(other[name], results[0][name], rtol=1e-4, atol=1e-5)


def test_shared_statistics_take_one_more_pass_over_the_images_that_share(data):
    net, sizes = bnlens.convert(make_net(data)), []
    layer = net.blocks[0][1]
    layer.register_forward_pre_hook(lambda _module, inputs: sizes.append((len(inputs[0]), torch.is_grad_enabled())))
    options = {"statistics_batch_size": 16, "batch_size": 32, "steps": 3, "recalibrate": False}
    fit(net, data, device_batch_size=4, share_statistics=True, **options)
    assert sizes == ([(16, False)] + [(4, True)] * 4) * 2 * 3
    assert layer.statistics_batch_size == 16
    assert int(layer.num_batches_tracked) == 2 * 3


@pytest.mark.parametrize("device", [1, 4, 16])
def test_with_shared_statistics_a_step_begins_as_with_batches_of_them(data, device):
    plain, shared = make_net(data), bnlens.convert(make_net(data))
    options = {"statistics_batch_size": 16, "batch_size": 32, "steps": 4, "lr": 0.05, "recalibrate": False}
    expected = fit(plain, data, **options)
    found = fit(shared, data, device_batch_size=device, share_statistics=True, **options)
    assert found.loss[0] == pytest.approx(expected.loss[0], rel=1e-5)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5 if device == 16 else 0.01)
    apart = (shared.fc.weight - plain.fc.weight).abs().max()
    assert (apart < 1e-5) == (device == 16)  # else the gradient is BN's on average only


def test_a_regulariser_adds_its_penalty_to_the_loss_of_each_micro_batch(data):
    nets = [make_net(data) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())

    def penalised(images):
        return nets[1](images), 0.05 * sum(w.square().sum() for w in nets[1].parameters() if w.ndim > 1)

    options = {"statistics_batch_size": 8, "batch_size": 32, "steps": 4, "recalibrate": False}
    plain = fit(nets[0], data, weight_decay=0.1, **options)
    history = fit(nets[1], data, weight_decay=0.0, regulariser=penalised, **options)
    assert history.loss == pytest.approx(plain.loss, rel=1e-4)
    torch.testing.assert_close(nets[1].fc.weight, nets[0].fc.weight, rtol=1e-4, atol=1e-5)


def test_a_step_is_sgd_on_the_mean_over_micro_batches(data):
    net = make_net(data)
    twin, seen = copy.deepcopy(net), []
    net.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    options = {"statistics_batch_size": 16, "batch_size": 64, "steps": 1, "warmup_steps": 0, "recalibrate": False}
    history = fit(net, data, lr=0.1, weight_decay=0.2, **options)
    label_of = {image.numpy().tobytes(): label for image, label in zip(data.images, data.labels, strict=True)}
    labels = [torch.stack([label_of[image.numpy().tobytes()] for image in images]) for images in seen]
    losses = [F.cross_entropy(twin(images), theirs) for images, theirs in zip(seen, labels, strict=True)]
    loss = torch.stack(losses).mean()
    loss.backward()
    assert history.loss == pytest.approx((loss.item(),), rel=1e-5)
    assert len({image.numpy().tobytes() for images in seen for image in images}) == 64
    for (name, after), before in zip(net.named_parameters(), twin.parameters(), strict=True):
        is_weight = "fc.weight" in name or name.endswith(".0.weight")
        expected = before - 0.1 * (before.grad + (0.2 * before if is_weight else 0.0))
        torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-6)


def test_without_batch_normalization_the_statistics_batch_does_not_matter(data):
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    for net, size in zip(nets, (4, 32), strict=True):
        fit(net, data, statistics_batch_size=size, batch_size=32, steps=7)
    torch.testing.assert_close(nets[0][1].weight, nets[1][1].weight)


def test_momentum_is_09():
    ones = ImageData(torch.ones(2, 1, 1, 1), torch.tensor([0, 0]), ("a", "b"), "toy", "train", (0.0,), (1.0,))

    class Tilt(nn.Module):  # the gradient hardly changes, so that the second step is 1.9 times the first
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(()))

        def forward(self, images):
            return torch.stack([1e-3 * self.w, 0 * self.w]).expand(len(images), 2)

    def moved(steps):
        net = Tilt()
        # the schedule's last factors are 1/2 for two steps and 1 for one
        fit(net, ones, statistics_batch_size=2, batch_size=2, steps=steps, lr=1.0, warmup_steps=0)
        return net.w.item()

    assert moved(2) / moved(1) == pytest.approx(1 + 0.5 * 1.9, rel=1e-5)


def test_learning_rate_rises_then_falls(data):
    rates = fit(make_net(data), data, batch_size=32, steps=40, lr=0.2, recalibrate=False).learning_rate
    assert rates[0] == pytest.approx(0.02)
    assert rates[20] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.001
    assert rates.index(max(rates)) == 9


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_size": 32}, 0.3 / 8),
        ({"batch_size": 64}, 0.3 / 4),
        ({"batch_size": 64, "optimizer": "adam"}, 1e-3),
        ({"batch_size": 64, "lr": 0.7}, 0.7),
    ],
)
def test_learning_rate_that_is_not_given(data, options, expected):
    options = {"schedule": "constant", "warmup_steps": 0, "steps": 2, "recalibrate": False} | options
    assert fit(make_net(data), data, **options).learning_rate == pytest.approx((expected, expected), rel=1e-12)


def test_schedules(data):
    def rates(schedule):
        options = {"batch_size": 32, "steps": 20, "warmup_steps": 4, "lr": 1.0, "recalibrate": False}
        return fit(make_net(data, "mlp"), data, schedule=schedule, **options).learning_rate

    assert rates("constant") == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 17)
    assert rates("step") == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 7 + [0.1] * 5 + [0.01] * 5)


def test_adam_steps_as_its_authors_write_it(data):
    net = make_net(data).double()
    exact = dataclasses.replace(data)
    weight, gradients = net.fc.weight, []
    start = weight.detach().clone()
    net.register_forward_pre_hook(lambda _module, inputs: (inputs[0].double(),))
    fit(
        net, exact, batch_size=32, steps=3, optimizer="adam", lr=0.01, momentum=0.8, schedule="constant", warmup_steps=0,
        weight_decay=0.0, recalibrate=False, observe=lambda *call: gradients.append(call[3].fc.weight.grad.clone()),
    )  # fmt: skip
    first, second, expected = torch.zeros_like(start), torch.zeros_like(start), start
    for step, gradient in enumerate(gradients, start=1):
        first = 0.8 * first + 0.2 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        expected = expected - 0.01 * (first / (1 - 0.8**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-10, atol=1e-12)


def test_momentum_is_what_is_asked_for(data):
    net, states = make_net(data), []
    fit(
        net, data, batch_size=32, steps=3, lr=0.1, momentum=0.0, schedule="constant", warmup_steps=0, weight_decay=0.0,
        recalibrate=False,
        observe=lambda *call: states.append((call[3].fc.bias.detach().clone(), call[3].fc.bias.grad.clone())),
    )  # fmt: skip
    for (before, _), (after, gradient) in itertools.pairwise(states):
        torch.testing.assert_close(after, before - 0.1 * gradient)


def test_observes_the_model_after_each_step(data):
    net, calls, weights = make_net(data), [], []

    def observe(*call):
        calls.append(call)
        weights.append(net.fc.weight.detach().clone())

    history = fit(net, data, batch_size=32, steps=3, observe=observe, recalibrate=False)
    assert [call[:3] for call in calls] == [(step + 1, 3, history.loss[step]) for step in range(3)]
    assert all(call[3] is net for call in calls)
    assert torch.equal(weights[-1], net.fc.weight)
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize("convert", [False, True])
def test_bfloat16_rounds_the_forward_pass_and_not_the_weights(data, convert):
    results = {}
    for precision in ("no", "bf16"):
        net, dtypes = make_net(data), set()
        options = {"device_batch_size": 16} if convert else {}
        if convert:
            bnlens.convert(net)
        net.blocks[1][0].register_forward_hook(lambda _module, _inputs, output, dtypes=dtypes: dtypes.add(output.dtype))
        history = fit(net, data, batch_size=32, steps=6, lr=0.1, precision=precision, recalibrate=False, **options)
        assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}
        assert all(parameter.dtype == torch.float32 for parameter in net.parameters())
        assert "forward" not in vars(net)
        results[precision] = history.loss
    assert results["bf16"] != results["no"]
    assert results["bf16"] == pytest.approx(results["no"], rel=0.03)  # bfloat16 has eight bits


def test_leaves_the_state_of_accelerate_alone(data):
    accelerate = pytest.importorskip("accelerate")
    ours = accelerate.Accelerator(mixed_precision="no", cpu=True)
    before = dict(vars(ours.state))
    fit(make_net(data), data, batch_size=32, steps=1, precision="bf16")
    fit(make_net(data), data, batch_size=32, steps=1)
    assert vars(ours.state) == before
    assert accelerate.Accelerator().mixed_precision == "no"


def test_variables_of_a_launcher_for_another_script_change_nothing(data, monkeypatch):
    losses = []
    for _ in range(2):
        losses.append(fit(make_net(data), data, batch_size=32, steps=3).loss)
        monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert losses[0] == losses[1]


def test_weights_that_diverge_in_the_last_step(data):
    with pytest.raises(LossError, match="the weights after the last step make activations that are not finite"):
        fit(make_net(data), data, batch_size=32, steps=1, lr=1e38, warmup_steps=0)


def test_augmentation_changes_the_images_alone(data):
    seen = {}
    for augmented in (False, True):
        net, batches = make_net(data), []
        net.register_forward_pre_hook(lambda _module, inputs, batches=batches: batches.append(inputs[0]))
        fit(net, data, batch_size=32, steps=4, augment=augmented, recalibrate=False)
        seen[augmented] = torch.cat(batches)
    for plain, crop in zip(seen[False], seen[True], strict=True):
        padded = F.pad(plain, (1, 1, 1, 1))
        crops = [padded[:, i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
        assert any(torch.equal(crop, other) for each in crops for other in (each, each.flip(2)))
    assert not torch.equal(seen[False], seen[True])


def test_repeats_with_the_seed_alone(data):
    def train(seed, disturbance):
        torch.manual_seed(disturbance)
        net = nn.Sequential(nn.Dropout(0.5), make_net(data))
        history = fit(net, data, batch_size=32, epochs=2, seed=seed)
        return history, net.state_dict()

    (first, weights), (again, same), (other, _) = train(0, 1), train(0, 2), train(1, 1)
    assert first == again
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    assert first.loss != other.loss


def test_leaves_modes_and_the_global_generator_alone(data):
    net = make_net(data).eval()
    net.fc.train()
    modes, state = [module.training for module in net.modules()], torch.get_rng_state()
    fit(net, data, batch_size=32, steps=2)
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("recalibrate", [True, False])
def test_recalibrated_statistics_are_the_populations_and_others_moving_averages(data, recalibrate):
    net = make_net(data)
    fit(net, data, batch_size=32, steps=3, recalibrate=recalibrate)
    conv, norm, _ = net.blocks[0]
    distance = (norm.running_mean - conv(data.images).detach().double().mean((0, 2, 3))).abs().max()
    assert distance < 1e-5 if recalibrate else distance > 1e-3
    assert norm.momentum == 0.1


def test_a_frozen_net_is_trained_and_keeps_its_running_statistics(data):
    net = bnlens.convert(make_net(data))
    bnlens.freeze(net)
    before = copy.deepcopy(net.state_dict())
    fit(net, data, batch_size=32, steps=2)
    after = net.state_dict()
    assert all(
        torch.equal(after[name], value) == ("running" in name or "tracked" in name) for name, value in before.items()
    )


def test_one_image_more_than_whole_batches(data):
    net = make_net(data, "mlp")  # BatchNorm1d refuses a batch of one
    odd = dataclasses.replace(data, images=data.images[:33], labels=data.labels[:33])
    fit(net, odd, batch_size=16, steps=1)
    linear, norm, _ = net.layers[0]
    torch.testing.assert_close(norm.running_mean, linear(odd.images.flatten(1)).mean(0), rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    ("name", "width", "epochs"), [("mlp", 128, 4), ("cnn", 32, 4), pytest.param("resnet", 8, 3, marks=pytest.mark.slow)]
)
def test_learns_the_digits(name, width, epochs):
    train, test = load_data("digits"), load_data("digits", split="test")
    net = build_net(name, input_shape=train.input_shape, num_classes=10, width=width)
    history = fit(net, train, batch_size=64, epochs=epochs, lr=0.1)
    assert history.loss[0] == pytest.approx(2.3, abs=0.4)
    assert evaluate(net, train).accuracy >= 0.97
    assert evaluate(net, test).accuracy >= 0.95


def test_reports_each_step(data):
    calls = []
    history = fit(make_net(data), data, batch_size=32, steps=3, progress=lambda *call: calls.append(call))
    assert calls == [(1, 3, history.loss[0]), (2, 3, history.loss[1]), (3, 3, history.loss[2])]


def test_draws_a_progress_bar_and_is_silent_by_default(data, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    history = fit(make_net(data), data, batch_size=32, steps=3, progress=True)
    shown = capsys.readouterr()
    assert "100%" in shown.err
    assert f"loss {history.loss[2]:.3f}" in shown.err
    assert not shown.out  # which is for results
    fit(make_net(data), data, batch_size=32, steps=2)
    assert capsys.readouterr() == ("", "")


def test_history_describes_itself(data):
    history = fit(make_net(data), data, batch_size=32, steps=2)
    assert repr(history).startswith("History(steps=2, loss=")
    assert repr(history).endswith("statistics_batch_size=16, batch_size=32, device_batch_size=16)")


def test_loss_that_is_not_finite_names_the_step(data):
    class FailsLater(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net, self.calls = net, 0

        def forward(self, images):
            self.calls += 1
            return self.net(images) * (float("inf") if self.calls == 6 else 1.0)

    net = FailsLater(make_net(data))
    weights = []
    with pytest.raises(LossError, match=r"the loss is (nan|inf) at step 3 of 5; lower lr, which is 0.3"):
        fit(net, data, batch_size=32, steps=5, lr=0.3, progress=lambda *_: weights.append(net.net.fc.weight.clone()))
    assert torch.equal(net.net.fc.weight, weights[-1])  # no step was taken with that gradient


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistics_batch_size": 1}, "statistics_batch_size is 1; it must be an integer of at least 2 or math.inf"),
        ({"statistics_batch_size": 2.5}, "statistics_batch_size is 2.5; it must be"),
        ({"statistics_batch_size": float("nan")}, "statistics_batch_size is nan; it must be"),
        ({"statistics_batch_size": float("inf")}, "statistics_batch_size is inf; give device_batch_size"),
        ({"device_batch_size": 5}, "batch_size must be a multiple of device_batch_size, 5, got 32"),
        ({"device_batch_size": 0}, "device_batch_size is 0; it must be an integer of at least 1"),
        ({"device_batch_size": 8}, r"CNN has BN layers of torch only, such as .*; convert it \(bnlens\.convert\)"),
        ({"share_statistics": True}, "needs a device_batch_size that divides statistics_batch_size, 16, got None"),
        ({"share_statistics": True, "device_batch_size": 32}, "divides statistics_batch_size, 16, got 32"),
        ({"share_statistics": True, "device_batch_size": 8, "batch_size": 40}, "a multiple of 16, 16 images on"),
        ({"share_statistics": True, "device_batch_size": 8, "regulariser": abs}, "leave share_statistics to use them"),
        ({"batch_size": 40}, "batch_size must be a multiple of statistics_batch_size, 16, got 40"),
        ({"batch_size": 0}, "batch_size is 0; it must be an integer of at least 1"),
        ({"epochs": 0}, "epochs is 0; it must be an integer of at least 1"),
        ({"steps": 0}, "steps is 0; it must be an integer of at least 1"),
        ({"lr": float("nan")}, "lr is nan; it must be a number of at least 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; it must be a number of at least 0"),
        ({"warmup_steps": -1}, "warmup_steps is -1; it must be an integer of at least 0"),
        ({"momentum": 1.0}, "momentum is 1.0; it must be a number from 0 and below 1"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0; it must be"),
        ({"optimizer": "lion"}, "optimizer is 'lion'; it must be one of 'sgd', 'adam'"),
        ({"schedule": "line"}, "schedule is 'line'; it must be one of 'cosine', 'step', 'constant'"),
        ({"precision": "fp8"}, "precision is 'fp8'; it must be one of 'no', 'bf16', 'fp16'"),
        ({"precision": "fp16"}, 'precision is "fp16", which needs a GPU; take "bf16" or "no" on a CPU'),
    ],
)
def test_numbers_out_of_range(data, options, message):
    with pytest.raises(UsageError, match=message):
        fit(make_net(data), data, **({"batch_size": 32} | options))


def test_fewer_images_than_a_batch_and_nothing_to_train(data):
    with pytest.raises(DataError, match="toy has 70 images, fewer than one batch of 256; lower batch_size"):
        fit(make_net(data), data)
    with pytest.raises(ModelError, match="no parameter that requires a gradient"):
        fit(make_net(data).requires_grad_(False), data, batch_size=32)
