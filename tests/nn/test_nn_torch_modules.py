"""Torch's module tests of its BN layers, driven by the entries of the installed torch, on layers of each regime.

The entries (`torch.testing._internal.common_modules.module_db`) have arguments and inputs; the tests are those that torch runs
on them. Of the others, that of operations in place has no BN layer, and those between devices run where there is a GPU.
"""

import copy
import io

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.testing._internal.common_modules import ModuleErrorEnum, ModuleInfo, module_db

import bnlens.nn

ENTRIES = [info for info in module_db if info.module_cls in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)]
BY_DESIGN = {
    (
        "gradient",
        "window",
    ): "the gradient goes through the batch alone and takes the window's scale and shift for constants",
    ("gradient_of_gradient", "window"): "as for the gradient",
    ("factory_half", "ghost"): "what the window keeps, at every M, is in float32 or wider",
    ("factory_half", "window"): "what the window keeps, at every M, is in float32 or wider",
}


class Case:
    """An input of an entry: what a layer is built with, and a batch that is in the regime (for ghost groups, two of them)."""

    def __init__(self, info: ModuleInfo, given: object, regime: str) -> None:
        self.arguments = given.constructor_input
        (x,) = given.forward_input.args
        self.x = torch.cat([x, 0.5 - 2 * x.flip(0)]) if regime == "ghost" else x
        samples = len(self.x) or 4
        # below a fourth of M a window would warn
        self.M = {"batch": None, "ghost": samples // 2, "window": 4 * samples}[regime]
        self.torchs = info.module_cls
        self.ours = getattr(bnlens.nn, info.module_cls.__name__)

    def torch_layer(self) -> nn.Module:
        return self.torchs(*self.arguments.args, **{"dtype": self.x.dtype, **self.arguments.kwargs})

    def layer(self, **factory: object) -> nn.Module:
        factory = {"dtype": self.x.dtype, **self.arguments.kwargs, **factory}
        return self.ours(*self.arguments.args, statistics_batch_size=self.M, **factory)

    def used(self, *, training: bool = True) -> nn.Module:
        """A layer with a past: running statistics, and a window, of another batch."""
        layer = self.layer()
        layer(2 * self.x + 1)
        return layer.train(training)


def cases(
    info: ModuleInfo, regime: str, *, training: bool = True, dtype: torch.dtype = torch.float64, empty: bool = True
) -> list[Case]:
    torch.manual_seed(0)
    inputs = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=False, training=training)
    found = [Case(info, given, regime) for given in inputs]
    assert len(found) > 5
    return [case for case in found if empty or case.x.numel()]


def regimes(test: str = "") -> pytest.MarkDecorator:
    """The regimes; where torch's test cannot hold by design, it must fail."""
    reasons = {regime: BY_DESIGN.get((test, regime)) for regime in ("batch", "ghost", "window")}
    return pytest.mark.parametrize(
        "regime",
        [
            pytest.param(regime, marks=pytest.mark.xfail(strict=True, reason=why)) if why else regime
            for regime, why in reasons.items()
        ],
    )


entries = pytest.mark.parametrize("info", ENTRIES, ids=lambda info: info.name)
modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def outcome(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, gradients and state after a pass of a copy of the layer."""
    layer, x = copy.deepcopy(layer), x.detach().requires_grad_()
    y = layer(x)
    cotangent = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    gradients = torch.autograd.grad(y, [x, *layer.parameters()], cotangent)
    return [y.detach(), *gradients, *layer.state_dict().values()]


def all_tensors(layer: nn.Module) -> list[Tensor]:
    return [*layer.parameters(), *layer.buffers()]


def non_contiguous(x: Tensor) -> Tensor:
    return torch.stack([x, torch.full_like(x, torch.nan)], -1)[..., 0]


@entries
@regimes()
@modes
def test_forward(info, regime, training):
    for case in cases(info, regime, training=training):
        layer, torchs, whole = case.layer().train(training), case.torch_layer(), case.torch_layer()
        grouped = regime == "ghost" and training and case.x.numel()
        parts = [torchs.train(training)(part) for part in (case.x.split(case.M) if grouped else [case.x])]
        torch.testing.assert_close(layer(case.x), torch.cat(parts))
        if case.x.numel():  # an empty batch is none: torch counts it
            whole.train(training)(case.x)
        torch.testing.assert_close(layer.state_dict(), whole.state_dict())


@entries
@regimes("gradient")
def test_gradient(info, regime):
    for case in cases(info, regime, empty=False):
        layer = case.used()
        inputs = (case.x.requires_grad_(), *layer.parameters())
        assert gradcheck(lambda x, *_, layer=layer: layer(x), inputs, fast_mode=True)


@entries
@regimes("gradient_of_gradient")
def test_gradient_of_gradient(info, regime):
    for case in cases(info, regime, empty=False):
        layer = case.used()
        inputs = (case.x.requires_grad_(), *layer.parameters())
        assert gradgradcheck(lambda x, *_, layer=layer: layer(x), inputs, fast_mode=True)


@entries
@regimes()
def test_gradients_in_eval_mode(info, regime):
    for case in cases(info, regime, training=False, empty=False):
        layer = case.used(training=False)
        inputs = (case.x.requires_grad_(), *layer.parameters())
        assert gradcheck(lambda x, *_, layer=layer: layer(x), inputs, fast_mode=True)
        assert gradgradcheck(lambda x, *_, layer=layer: layer(x), inputs, fast_mode=True)


@entries
@regimes()
@modes
def test_non_contiguous_tensors(info, regime, training):
    for case in cases(info, regime, training=training, empty=False):
        layer, x = case.used(training=training), non_contiguous(case.x)
        assert not x.is_contiguous()
        torch.testing.assert_close(outcome(layer, x), outcome(layer, case.x))


@entries
@regimes()
@modes
def test_memory_format(info, regime, training):
    formats = {nn.BatchNorm2d: torch.channels_last, nn.BatchNorm3d: torch.channels_last_3d}
    memory_format = formats.get(info.module_cls, torch.contiguous_format)
    for case in cases(info, regime, training=training, dtype=torch.float32, empty=False):
        layer = case.used(training=training)
        x = case.x.contiguous(memory_format=memory_format)
        for moved in (layer, copy.deepcopy(layer).to(memory_format=memory_format)):
            assert copy.deepcopy(moved)(x).is_contiguous(memory_format=memory_format)
            torch.testing.assert_close(outcome(moved, x), outcome(layer, case.x), rtol=1e-5, atol=1e-5)


@entries
@regimes()
def test_train_and_eval_differ(info, regime):
    assert info.train_and_eval_differ
    for case in cases(info, regime, empty=False):
        layer = case.used()
        if layer.track_running_stats:
            assert not torch.allclose(layer(case.x), layer.eval()(case.x))


@entries
@regimes()
def test_factory_arguments(info, regime):
    for case in cases(info, regime, empty=False):
        layer = case.layer(device="meta", dtype=torch.float64)
        assert {tensor.device.type for tensor in all_tensors(layer)} == {"meta"}
        assert {tensor.dtype for tensor in all_tensors(layer)} <= {torch.float64, torch.long}
        with torch.device("meta"):
            assert {tensor.device.type for tensor in all_tensors(case.layer())} == {"meta"}


@entries
@regimes("factory_half")
def test_factory_arguments_in_half_precision(info, regime):
    for case in cases(info, regime, empty=False):
        layer = case.layer(dtype=torch.bfloat16)
        layer(case.x.to(torch.bfloat16))
        assert {tensor.dtype for tensor in all_tensors(layer)} <= {torch.bfloat16, torch.long}


@entries
@regimes()
@pytest.mark.parametrize("swap", [False, True], ids=["set_data", "swap_tensors"])
def test_moves(info, regime, swap):
    """Torch's tests of ``to`` and ``to_empty``, to another dtype and device and back."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(swap)
    try:
        for case in cases(info, regime, dtype=torch.float32, empty=False):
            layer = case.used()
            expected = outcome(layer, case.x)
            torch.testing.assert_close(outcome(copy.deepcopy(layer).double().float(), case.x), expected)
            if torch.cuda.is_available():
                assert {tensor.device.type for tensor in all_tensors(layer.cuda())} == {"cuda"}
                torch.testing.assert_close(outcome(layer.cpu(), case.x), expected)
            meta = copy.deepcopy(layer).to("meta")
            assert {tensor.device.type for tensor in all_tensors(meta)} == {"meta"}
            assert meta(case.x.to("meta")).shape == case.x.shape
            assert {tensor.device.type for tensor in all_tensors(meta.to_empty(device="cpu"))} <= {"cpu"}
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


@entries
@regimes()
def test_pickle_and_repr(info, regime):
    for case in cases(info, regime, empty=False):
        layer, stream = case.used(), io.BytesIO()
        assert repr(layer).startswith(f"{info.module_cls.__name__}({layer.num_features}, eps=")
        assert str(layer) == repr(layer)
        torch.save(layer, stream)
        stream.seek(0)
        loaded = torch.load(stream, weights_only=False)
        torch.testing.assert_close(outcome(loaded, case.x), outcome(layer, case.x), rtol=0, atol=0)


@entries
@regimes()
def test_errors(info, regime):
    inputs = info.module_error_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=False, training=True)
    assert inputs
    for given in inputs:
        assert given.error_on is ModuleErrorEnum.FORWARD_ERROR
        case = Case(info, given.module_error_input, regime)
        with pytest.raises(given.error_type, match=given.error_regex.replace("must be positive", ".*must be positive")):
            case.layer()(case.x)
