"""Layers in the hands of torch's own tools: a row of docs/tools.md each."""

import copy
import math

import pytest
import torch
import torch.ao.quantization as quantization
from torch import nn

import bnlens
import bnlens.nn
from bnlens.errors import NotYetConvertibleError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.(jit|ao.quantization):DeprecationWarning")  # torch's own tools
REGIMES = [None, 4, 64, math.inf]  # of 16 samples
every_regime = pytest.mark.parametrize("M", REGIMES)


class Activated(bnlens.nn.BatchNorm2d):
    """A user's subclass, whose layer is more than normalisation."""

    def forward(self, x):
        return super().forward(x).relu()


def images(samples=16, seed=0, **kwargs):
    return torch.randn(samples, 3, 6, 6, generator=torch.Generator().manual_seed(seed), **kwargs)


def net(M=None, layer=bnlens.nn.BatchNorm2d, **kwargs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), layer(8, statistics_batch_size=M, **kwargs), nn.ReLU())
    nn.init.normal_(model[1].weight)
    return model


def plain_copy(model):
    return bnlens.revert(copy.deepcopy(model))


@every_regime
@pytest.mark.parametrize("layer", [bnlens.nn.BatchNorm2d, bnlens.nn.PopulationBatchNorm2d, Activated])
@pytest.mark.parametrize("training", [True, False])
def test_fx_keeps_the_layer_whole(M, layer, training):
    model = net(M, layer=layer).train(training)
    model[1].register_forward_hook(lambda module, args, output: 2 * output)  # runs in the graph's call, and once
    twin = copy.deepcopy(model)
    traced = torch.fx.symbolic_trace(model)
    assert [node.op for node in traced.graph.nodes] == ["placeholder"] + 3 * ["call_module"] + ["output"]
    assert traced.get_submodule("1") is model[1]
    for mode in (training, not training, training):
        traced.train(mode)
        twin.train(mode)
        torch.testing.assert_close(traced(images()), twin(images()), rtol=0, atol=0)
    assert type(copy.deepcopy(traced).get_submodule("1")) is layer


def test_the_name_for_fx_is_the_object_s_alone():
    layer = bnlens.nn.BatchNorm2d(3)
    assert type(layer).__module__ == type(copy.deepcopy(layer)).__module__ == "bnlens.nn._layers"
    assert "__module__" not in vars(bnlens.revert(nn.Sequential(layer))[0])


@every_regime
def test_fx_fusion_and_prepare_fx_leave_the_layer_right(M):
    model = net(M)
    model(images())
    model.eval()
    from torch.fx.experimental import optimization

    torch.testing.assert_close(optimization.fuse(model)(images()), model(images()))
    fused = optimization.fuse(plain_copy(model))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    torch.testing.assert_close(fused(images()), model(images()), rtol=1e-5, atol=1e-5)


@every_regime
@pytest.mark.filterwarnings("ignore:.*:UserWarning:torch.ao")
def test_prepare_fx_keeps_the_layer(M):
    from torch.ao.quantization import quantize_fx

    model = net(M).eval()
    mapping = quantization.get_default_qconfig_mapping("x86")
    prepared = quantize_fx.prepare_fx(copy.deepcopy(model), mapping, (images(),))
    torch.testing.assert_close(prepared(images()), model(images()))
    assert prepared.get_submodule("1").statistics_batch_size == M


@every_regime
def test_fusing_in_eval_mode(M):
    model = net(M)
    model(images())
    model.eval()
    for names in (["0", "1"], ["0", "1", "2"]):
        fused = quantization.fuse_modules(model, names)
        assert isinstance(fused[1], nn.Identity)
        torch.testing.assert_close(fused(images()), model(images()), rtol=1e-5, atol=1e-5)
    linear = nn.Sequential(nn.Linear(5, 8), bnlens.nn.BatchNorm1d(8, statistics_batch_size=M))
    linear(torch.randn(16, 5))
    x = torch.randn(4, 5)
    torch.testing.assert_close(quantization.fuse_modules(linear.eval(), ["0", "1"])(x), linear(x), rtol=1e-5, atol=1e-5)
    fused = nn.utils.fuse_conv_bn_eval(model[0], model[1])
    torch.testing.assert_close(fused(images()), model[:2](images()), rtol=1e-5, atol=1e-5)


@every_regime
@pytest.mark.parametrize("names", [["0", "1"], ["0", "1", "2"], ["1", "2"]])
def test_fusing_for_training_says_to_revert_first(M, names):
    model = net(M)
    with pytest.raises(NotYetConvertibleError, match="revert the model first"):
        quantization.fuse_modules_qat(model, names)
    quantization.fuse_modules_qat(plain_copy(model), names)


@every_regime
@pytest.mark.parametrize("training", [True, False])
def test_script_says_what_to_do(M, training):
    model = net(M).train(training)
    with pytest.raises(NotYetConvertibleError, match=r"bnlens\.revert"):
        torch.jit.script(model)
    assert isinstance(model[1], bnlens.nn.BatchNorm2d)
    scripted = torch.jit.script(plain_copy(model).eval())
    torch.testing.assert_close(scripted(images()), model.eval()(images()))


@every_regime
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_trace(M, training):
    model = net(M).train(training)
    twin = copy.deepcopy(model)
    traced = torch.jit.trace(model, images(seed=1), check_trace=False)
    twin(images(seed=1))  # tracing ran the model once
    torch.testing.assert_close(traced(images()), twin(images()))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_vmap_as_torchs(training, dtype):
    x = torch.randn(5, 16, 3, 6, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    ours, torchs = (
        cls(3, track_running_stats=not training, dtype=dtype).train(training)
        for cls in (bnlens.nn.BatchNorm2d, nn.BatchNorm2d)
    )
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(torch.vmap(ours)(x), torch.vmap(torchs)(x), rtol=tolerance, atol=tolerance)


def test_vmap_after_batch_norm_is_replaced():
    """Gradients of an ensemble, as torch.func documents them."""
    models = [net() for _ in range(3)]
    for model, shift in zip(models, (0.0, 1.0, 2.0), strict=True):
        torch.func.replace_all_batch_norm_modules_(model)
        nn.init.constant_(model[1].weight, 1 + shift)
    parameters, buffers = torch.func.stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss(parameters, buffers, x):
        return torch.func.functional_call(skeleton, (parameters, buffers), (x,)).square().mean()

    gradients = torch.vmap(torch.func.grad(loss), in_dims=(0, 0, None))(parameters, buffers, images())
    for i, model in enumerate(models):
        twin = plain_copy(model)
        twin(images()).square().mean().backward()
        for name, parameter in twin.named_parameters():
            torch.testing.assert_close(gradients[name][i], parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("M", "frozen", "lost"), [(16, False, "16"), (None, True, "freezing"), (64, True, "64")])
def test_convert_sync_batchnorm_warns_of_what_it_drops(M, frozen, lost):
    model = net(M)
    if frozen:
        bnlens.freeze(model)
    with pytest.warns(UserWarning, match=rf"without .*{lost}.*sync=True"):
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model = net(M)  # the advice
    bnlens.set_statistics_batch_size(model, M, sync=True)
    assert (model[1].statistics_batch_size, model[1].sync) == (M, True)


def test_convert_sync_batchnorm_is_right_where_it_drops_nothing():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(net())
    assert type(model[1]) is nn.SyncBatchNorm


@every_regime
def test_in_place_on_the_output(M):
    layer = net(M)[1]
    x = torch.randn(16, 8, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = (copy.deepcopy(layer)(x) + x).relu()
    y.sum().backward()
    expected, x.grad = x.grad, None
    out = layer(x)
    out += x
    nn.functional.relu_(out)
    out.sum().backward()
    torch.testing.assert_close(x.grad, expected)


@every_regime
@pytest.mark.parametrize("use_buffers", [True, False])
def test_averaged_models(M, use_buffers):
    model = net(M)
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=use_buffers)
    for seed in range(3):
        model(images(seed=seed))
        average.update_parameters(model)
    torch.optim.swa_utils.update_bn([images(seed=seed) for seed in range(3)], average)
    assert average.module[1].statistics_batch_size == M
    assert average.eval()(images()).isfinite().all()


@every_regime
def test_share_memory(M):
    model = net(M).share_memory()
    assert all(tensor.is_shared() for tensor in (*model.parameters(), *model.buffers()))
