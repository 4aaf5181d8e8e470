"""The model and the random number generators come back as they went in, whatever happens in between."""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measure_cases import Residual, batches, data, plain, seeded
from torch import Tensor, nn

import bnlens
from bnlens.errors import ModelError
from bnlens.measure._intercept import Interceptor, batch_norm_layers

HOOKS = [name for name in vars(nn.Module()) if "hooks" in name]


class Counting(nn.Module):
    """Assigns a buffer anew at each call and changes another in place; draws random numbers of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(Residual)()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        self.seen[0] += x.detach().float().sum()
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002, S311
        return self.net(x)


def prepared() -> nn.Module:
    """A model in every kind of state that a report could disturb."""
    model = Counting().train()
    model.net.block["bn"].eval()  # frozen
    model.net.head.eval()
    model.net.stem[0].weight.requires_grad_(False)
    model.seen[1] = float("nan")  # which equals nothing, itself included
    model.net.block["bn"].register_forward_hook(lambda module, args, output: None)
    model.net.stem[1].register_forward_pre_hook(lambda module, args: None)
    model.net.head.weight.grad = torch.full_like(model.net.head.weight, 3.0)
    model.net.stem[1].weight.grad = torch.full_like(model.net.stem[1].weight, 4.0)
    return model


def state_of(model: nn.Module) -> list[Any]:
    """Everything that must not change; tensors by identity and by value."""
    state: list[Any] = []
    for module in model.modules():
        state.append((type(module).__name__, module.training))
        state.extend((kind, [(key, id(hook)) for key, hook in getattr(module, kind).items()]) for kind in HOOKS)
        for name, buffer in module._buffers.items():
            state.append((name, id(buffer), None if buffer is None else bits(buffer)))
        for name, parameter in module._parameters.items():
            if parameter is not None:
                gradient = parameter.grad
                state.append((name, id(parameter), bits(parameter), parameter.requires_grad, parameter._backward_hooks))
                state.append((name, None if gradient is None else (id(gradient), bits(gradient))))
    numpy_state = np.random.get_state()  # noqa: NPY002
    state.append(("python", random.getstate()))
    state.append(("numpy", numpy_state[1].tobytes(), numpy_state[2:]))  # type: ignore[union-attr, index]
    state.append(("torch", bits(torch.get_rng_state())))
    state.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
    state.append(torch.overrides._len_torch_function_stack())
    return state


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    before = state_of(model)
    yield
    assert state_of(model) == before


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


class StopError(Exception):
    pass


def raising(model: nn.Module, place: nn.Module, at: int, error: BaseException) -> Callable[[], int]:
    """Make the ``at``-th call of ``place`` raise; returns how many calls there were."""
    calls: list[nn.Module] = []

    def hook(module: nn.Module, args: Any) -> None:
        calls.append(module)
        if len(calls) == at:
            raise error

    place.register_forward_pre_hook(hook)
    return lambda: len(calls)


def run(model: nn.Module, loader: Any = None, loss: Any = F.cross_entropy) -> Any:
    loader = batches(*data(2, 4, 4)) if loader is None else loader
    return bnlens.report(model, loader, loss, statistics_batch_size=(4, 8), rounds=1, alone=True)


def test_after_success() -> None:
    model = prepared()
    with unchanged(model):
        run(model)


def test_after_success_on_a_model_in_use(case: Any) -> None:
    model = case.model()
    with unchanged(model):
        bnlens.report(model, case.batches(), case.loss, statistics_batch_size=4, rounds=1)


class Noisy(nn.Module):
    """Draws in eval mode, and normalises by a function that moves the running statistics at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(Residual)()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("var", torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.dropout(F.batch_norm(x, self.mean, self.var, training=True), 0.2, training=True))


@pytest.mark.parametrize("at", [0, 1, 2, 3, 9])
def test_a_model_that_draws_and_normalises_by_itself(at: int) -> None:
    model = Noisy().train()
    raising(model, model.net.head, at, KeyboardInterrupt())
    with unchanged(model), pytest.raises(KeyboardInterrupt) if at else nullcontext():
        run(model)


class Adapted(nn.Linear):
    """As adapters of low rank: eval mode adds their weights to those of the layer, train mode takes them off."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.low = nn.Parameter(torch.ones(outputs, inputs))
        self.merged = False

    def train(self, mode: bool = True) -> "Adapted":
        if mode == self.merged:
            self.weight.data += self.low.data * (-1 if mode else 1)
            self.merged = not mode
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight if self.merged else self.weight + self.low, self.bias)


def test_a_model_that_does_more_than_change_its_mode_in_eval() -> None:
    model = nn.Sequential(Adapted(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).train()
    with unchanged(model):
        run(model, plain())
    assert not model[0].merged


class Following(nn.Module):
    """As a momentum encoder: each forward pass moves the second weights towards the first ones."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.slow, self.how = seeded(Residual)(), nn.Linear(3, 3), how
        for parameter in self.slow.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        for parameter, target in zip(self.slow.parameters(), self.net.head.parameters(), strict=True):
            mean = target.mean()
            if self.how == "data":
                parameter.data = 0.9 * parameter.data + 0.1 * mean
            else:
                parameter.mul_(0.9).add_(0.1 * mean)
        with torch.enable_grad():
            return self.net(x) + self.slow.bias


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("how", ["data", "in place"])
def test_a_model_that_moves_its_own_weights(how: str, at: int) -> None:
    model = Following(how)
    memory = [parameter.data_ptr() for parameter in model.parameters()]
    raising(model, model.net.head, at, KeyboardInterrupt())
    with unchanged(model), pytest.raises(KeyboardInterrupt) if at else nullcontext():
        run(model)
    assert [parameter.data_ptr() for parameter in model.parameters()] == memory


def test_a_sparse_buffer() -> None:
    class OfAGraph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = seeded(Residual)()
            self.register_buffer("edges", torch.eye(3).to_sparse())

        def forward(self, x: Tensor) -> Tensor:
            return torch.sparse.mm(self.edges, self.net(x).T).T

    model = OfAGraph()
    before = model.edges
    found, expected = run(model), run(seeded(Residual)())
    assert model.edges is before
    assert found.network.gaps.measured[4].value == pytest.approx(expected.network.gaps.measured[4].value, abs=1e-6)


def test_an_evaluated_model_inside_a_new_container() -> None:
    model = nn.Sequential(nn.Dropout(), nn.DataParallel(prepared().eval()))
    with unchanged(model):
        run(model)
    raising(model, model[1].module.net.head, 2, StopError())
    with unchanged(model), pytest.raises(StopError):
        run(model)


CALLS = 71
AT_ONCE = 12  # the call that takes all samples, which passes stand in for if it fails


def test_the_stages_below_reach_from_the_first_call_to_the_last() -> None:
    model = prepared()
    count = raising(model, model.net.head, 0, StopError())
    run(model)
    assert count() == CALLS


@pytest.mark.parametrize(
    "error", [StopError("x"), KeyboardInterrupt(), RuntimeError("x")], ids=lambda error: type(error).__name__
)
@pytest.mark.parametrize("at", [1, 2, 3, 5, 6, 8, 10, 11, 13, 15, 18, 22, 26, 31, 36, 41, 47, 55, 63, CALLS])
@pytest.mark.parametrize("place", ["head", "stem.1", "stem.2"])
def test_after_an_exception_in_the_forward_pass(place: str, at: int, error: BaseException) -> None:
    model = prepared()
    raising(model, model.net.get_submodule(place), at, error)
    with unchanged(model), pytest.raises(type(error)) as caught:
        run(model)
    assert caught.value is error


def test_after_an_exception_in_the_pass_over_all_samples_at_once() -> None:
    expected, model = run(prepared()).network, prepared()
    raising(model, model.net.head, AT_ONCE, StopError())
    with unchanged(model):
        found = run(model).network
    assert found.gaps.measured[4].value == pytest.approx(expected.gaps.measured[4].value, abs=1e-5)
    raising(model, model.net.head, AT_ONCE, KeyboardInterrupt())
    with unchanged(model), pytest.raises(KeyboardInterrupt):
        run(model)


@pytest.mark.parametrize("error", [StopError("x"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_after_an_exception_in_the_loader(batch: int, error: BaseException) -> None:
    def loader() -> Iterator[Any]:
        for index, item in enumerate(batches(*data(2, 4, 4))):
            torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002, S311
            if index == batch:
                raise error
            yield item

    model = prepared()
    with unchanged(model), pytest.raises(type(error)):
        run(model, loader())


@pytest.mark.parametrize("at", [1, 3, 8, 14])
def test_after_an_exception_in_the_loss(at: int) -> None:
    calls = itertools.count(1)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        if next(calls) == at:
            raise KeyboardInterrupt
        return F.cross_entropy(output, target, reduction="none")

    model = prepared()
    with unchanged(model), pytest.raises(KeyboardInterrupt):
        run(model, loss=loss)


def test_after_an_exception_in_the_backward_pass() -> None:
    class Explode(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            raise StopError

    class Exploding(Counting):
        def forward(self, x: Tensor) -> Tensor:
            return Explode.apply(super().forward(x))

    model = Exploding().train()
    with unchanged(model), pytest.raises(StopError):
        run(model)


def test_after_an_interrupt_in_inference_mode() -> None:
    model = prepared()
    raising(model, model.net.head, 12, KeyboardInterrupt())
    with torch.inference_mode(), unchanged(model), pytest.raises(KeyboardInterrupt):
        run(model)


def test_a_model_reports_the_same_after_an_interrupted_report() -> None:
    model = seeded(Residual)()
    expected = run(model).network
    handle = model.head.register_forward_pre_hook(lambda module, args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(model)
    handle.remove()
    assert run(model).network == expected


def test_training_goes_on_as_if_there_had_been_no_report() -> None:
    def weights(report: bool) -> list[Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 3))
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            for x, y in plain():
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                if report:
                    options = {"statistics_batch_size": 4, "rounds": 1, "optimizer": optimizer}
                    bnlens.report(model, plain(), F.cross_entropy, **options)
                optimizer.step()
        return [tensor.detach().clone() for tensor in model.state_dict().values()]

    for with_report, without in zip(weights(True), weights(False), strict=True):
        assert torch.equal(with_report, without)


def test_interception_ends_with_its_context() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).eval()
    x = torch.ones(4, 3)
    interceptor = Interceptor(batch_norm_layers(model))
    with interceptor.attached():
        with interceptor.handling(lambda name, h, gamma, beta, eps: h + 7):
            assert torch.equal(model(x), x + 7)
        with pytest.raises(ModelError, match=r"'0' runs outside the model's forward pass.* switch checkpointing off"):
            model(x)
    torch.testing.assert_close(model(x), x / (1 + 1e-5) ** 0.5)
