"""The explicit regularisers against dense twins: sums over samples, and finite differences of a plain BN net."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnlens
import bnlens.nn
from bnlens.errors import ModelError, UsageError
from bnlens.likelihood import curvature_form
from bnlens.nn import CurvaturePenalty, GammaDecay, PopulationBatchNorm1d, PopulationBatchNorm2d

KINDS = [GammaDecay, CurvaturePenalty]


def conv_net(*, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Two population layers, one behind the other, and three logits."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), PopulationBatchNorm2d(4), nn.Softplus(),
        nn.Conv2d(4, 3, 2), PopulationBatchNorm2d(3), nn.Softplus(),
        nn.Flatten(), nn.Linear(3 * 9, 3),
    ).to(dtype)  # fmt: skip
    for layer in (net[1], net[4]):
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias)
    return net


def images(count: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(1)).to(dtype)


def run_with(net: nn.Sequential, x: Tensor, changes: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The net in plain torch with batch statistics and these changes of (beta, gamma) in its BN layers."""
    remaining = iter(changes)
    for module in net:
        if isinstance(module, bnlens.nn.DialBatchNorm):
            beta, gamma = next(remaining)
            x = F.batch_norm(x, None, None, module.weight + gamma, module.bias + beta, True, 0.0, module.eps)
        else:
            x = module(x)
    return x


def noise_of_images(net: nn.Sequential, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Changes of (beta, gamma), (N, C) each, that single images make, layer by layer: theory sheet D.1."""
    found = []
    for module in net:
        if isinstance(module, bnlens.nn.DialBatchNorm):
            pixels = x.flatten(2)
            mean, variance = pixels.mean((0, 2)), pixels.var((0, 2), correction=0) + module.eps
            xhat = (pixels - mean[:, None]) / variance.sqrt()[:, None]
            found.append((-module.weight * xhat.mean(2), -module.weight * (xhat.square().mean(2) - 1) / 2))
            x = F.batch_norm(x, None, None, module.weight, module.bias, True, 0.0, module.eps)
        else:
            x = module(x)
    return found


def test_curvature_penalty_is_the_gauss_newton_form_of_the_noise():
    """Averaged over draws it is 1/(2M) times the mean over images of their forms, by finite differences."""
    net, x, M = conv_net(), images(), 16
    with torch.no_grad():
        noise = noise_of_images(net, x)
        logits, step = run_with(net, x, [(0.0, 0.0)] * 2), 1e-5
        forms = []
        for i in range(len(x)):
            plus, minus = (run_with(net, x, [(s * b[i], s * g[i]) for b, g in noise]) for s in (step, -step))
            forms.append(curvature_form(logits, (plus - minus) / (2 * step), "cross_entropy").mean())
        expected = float(torch.stack(forms).mean()) / (2 * M)
    torch.manual_seed(0)
    regularised = CurvaturePenalty(net, M)
    draws = []
    for _ in range(600):
        net[1].reset_window()
        net[4].reset_window()
        output, penalty = regularised(x)
        draws.append(penalty.item())
    torch.testing.assert_close(output, logits)
    mean, error = torch.tensor(draws).mean(), torch.tensor(draws).std() / math.sqrt(len(draws))
    assert float(error) < 0.05 * expected
    assert abs(float(mean) - expected) < 3.5 * float(error)


def test_gradient_of_the_curvature_penalty():
    """The noise's law is held: behind it, gradients are those of finite differences with the same draw."""
    net, x = conv_net(), images()
    regularised = CurvaturePenalty(net, 8)

    def penalty() -> Tensor:
        torch.manual_seed(3)
        net[1].reset_window()
        net[4].reset_window()
        return regularised(x)[1]

    for parameter in (net[7].weight, net[4].weight, net[4].bias):
        (gradient,) = torch.autograd.grad(penalty(), parameter)
        direction = torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.add_(direction, alpha=step)
                values.append(penalty())
                parameter.sub_(direction, alpha=step)
        expected = (values[0] - values[1]) / 2e-5
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-6, atol=1e-10)


def test_a_later_layer_takes_out_what_is_common():
    """Noise of a first layer with one pixel an image and no nonlinearity: the next normalisation removes it whole."""
    torch.manual_seed(0)
    layers = nn.Linear(4, 5), PopulationBatchNorm1d(5), nn.BatchNorm1d(5, eps=1e-12), nn.Linear(5, 3)
    net = nn.Sequential(*layers).double()
    penalty = CurvaturePenalty(net, 4)(torch.randn(64, 4, dtype=torch.float64))[1]
    assert 0 <= penalty.item() < 1e-12
    del net[2]
    assert CurvaturePenalty(net, 4)(torch.randn(64, 4, dtype=torch.float64))[1].item() > 1e-3


@pytest.mark.parametrize("M", [4, 32])
def test_gamma_decay_of_one_unit_is_the_papers(M):
    """zeta = K I_gamma / (8M) + I_beta / (2M), the two-term law, with the moments of the batch."""
    torch.manual_seed(0)
    layer = PopulationBatchNorm1d(1, eps=1e-12, dtype=torch.float64)
    nn.init.constant_(layer.weight, 1.5)
    nn.init.constant_(layer.bias, 0.3)
    x = torch.randn(500, 1, dtype=torch.float64)
    regularised = GammaDecay(layer, M, likelihood="binary_cross_entropy")
    _, penalty = regularised(x)
    xhat = (x - x.mean()) / x.std(correction=0)
    p = torch.sigmoid(1.5 * xhat + 0.3)
    fisher_gamma, fisher_beta = (p * (1 - p) * xhat.square()).mean(), (p * (1 - p)).mean()
    K = xhat.pow(4).mean() - 1
    zeta = K / (8 * M) * fisher_gamma + fisher_beta / (2 * M)
    torch.testing.assert_close(regularised.zeta["(model)"], zeta[None])
    torch.testing.assert_close(penalty, zeta * 1.5**2)
    penalty.backward()
    torch.testing.assert_close(layer.weight.grad, 2 * zeta[None] * 1.5)


def test_gamma_decay_takes_the_sum_over_an_images_pixels():
    """Against Jacobians of each image's outputs; the curvature of the squared error is 2, over 3 outputs."""
    net, x = conv_net()[:3].append(nn.Flatten()).append(nn.Linear(64, 3).double()), images(16)
    regularised = GammaDecay(net, 8, likelihood="mean_squared_error")
    torch.manual_seed(0)
    draws = []
    for _ in range(300):
        net[1].reset_window()
        regularised(x)
        draws.append(regularised.zeta["1"])
    with torch.no_grad():
        xhat = F.batch_norm(net[0](x), None, None, None, None, True, 0.0, net[1].eps)
    per_image = []
    for image in xhat:
        beta, gamma = torch.autograd.functional.jacobian(
            lambda b, g, image=image: net[2:]((image * g.view(-1, 1, 1) + b.view(-1, 1, 1))[None])[0],
            (net[1].bias.detach(), net[1].weight.detach()),
        )
        per_image.append(torch.stack([beta, gamma]).square().sum(1) * 2 / 3)
    fisher_beta, fisher_gamma = torch.stack(per_image).mean(0)
    a, q = xhat.mean((2, 3)), (xhat.square().mean((2, 3)) - 1) / 2
    expected = (a.square().mean(0) * fisher_beta + q.square().mean(0) * fisher_gamma) / (2 * 8)
    found = torch.stack(draws)
    error = found.std(0) / math.sqrt(len(draws))
    assert (error < 0.05 * expected).all()
    assert ((found.mean(0) - expected).abs() < 3.5 * error).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_the_models(kind):
    net, x = conv_net(dtype=torch.float32), images(dtype=torch.float32)
    twin = copy.deepcopy(net)
    for seed in range(2):
        batch = x + seed
        output, penalty = kind(net, 16)(batch)
        torch.testing.assert_close(output, twin(batch), rtol=1e-4, atol=1e-4)
        assert penalty.ndim == 0
        assert penalty.item() > 0
        F.cross_entropy(output, torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(net.get_buffer(name), buffer, rtol=1e-4, atol=1e-4)
    assert net[1].weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_in_eval_mode_there_is_no_penalty(kind):
    net, x = conv_net(), images()
    net.eval()
    output, penalty = kind(net, 16)(x)
    assert penalty.item() == 0
    torch.testing.assert_close(output, net(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("M", [4, 64])
def test_penalties_go_as_one_over_the_batch_size(kind, M):
    values = []
    for size in (2, M):
        torch.manual_seed(0)
        values.append(kind(conv_net(), size)(images())[1].item())
    assert values[1] == pytest.approx(values[0] * 2 / M)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("likelihood", ["cross_entropy", "binary_cross_entropy", "mean_squared_error"])
def test_models_with_structured_output_and_dense_predictions(kind, likelihood):
    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = conv_net()[:6]

        def forward(self, *, pixels: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.net(pixels), extra=1)

    model, x = Segmenter(), images()
    output, penalty = kind(model, 16, likelihood=likelihood)(pixels=x)
    assert output.logits.shape == (6, 3, 3, 3)
    assert penalty.item() > 0
    (output.logits.sum() + penalty).backward()
    assert model.net[0].weight.grad.isfinite().all()

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, int]:
            return model.net(x), 0

    pair = Pair()
    pair.net = model.net
    with pytest.raises(ModelError, match=r"the model returns tuple, neither .* say where they are by logits="):
        kind(pair, 16)(x)
    output, penalty = kind(pair, 16, logits=lambda output: output[0])(x)
    assert output[1] == 0
    assert penalty.item() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_under_autocast(kind, dtype):
    net, x = conv_net(dtype=torch.float32), images(dtype=torch.float32)
    torch.manual_seed(0)
    exact = kind(copy.deepcopy(net), 16)(x)[1].item()
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=dtype):
        output, penalty = kind(net, 16)(x)
        loss = F.cross_entropy(output, torch.zeros(6, dtype=torch.long)) + penalty
    loss.backward()
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx(exact, rel=0.1)
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_converted_models_shared_and_frozen_layers(kind):
    """A layer used twice counts twice; one that is frozen has no noise."""
    torch.manual_seed(0)
    shared = nn.BatchNorm1d(4)
    model = nn.Sequential(nn.Linear(4, 4), shared, nn.ReLU(), nn.Linear(4, 4), shared, nn.Linear(4, 2))
    bnlens.convert(model, statistics_batch_size=math.inf)
    regularised = kind(model, 8)
    assert len(regularised.layers) == 1
    assert regularised(torch.randn(32, 4))[1].item() > 0
    bnlens.freeze(model)
    model.train()
    assert regularised(torch.randn(32, 4))[1].item() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_in_the_model_leaves_the_layers_as_they_were(kind):
    net = conv_net()
    before = net[1]._renormalise
    with pytest.raises(RuntimeError, match="channels"):
        kind(net, 8)(torch.randn(4, 5, 6, 6, dtype=torch.float64))
    assert net[1]._renormalise is before


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_uses(kind):
    net = conv_net()
    for M in (None, math.inf, 1, 2.5, True):
        with pytest.raises(UsageError, match="statistics_batch_size is"):
            kind(net, M)
    with pytest.raises(UsageError, match="likelihood is 'poisson'; it must be one of"):
        kind(net, 16, likelihood="poisson")
    for layer in (nn.BatchNorm1d(3), bnlens.nn.BatchNorm1d(3, statistics_batch_size=64)):
        with pytest.raises(UsageError, match=r"Sequential has no population layer.*bnlens\.convert\(model"):
            kind(nn.Sequential(layer), 16)


def test_an_operation_without_forward_differentiation_is_named():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            return grad

    class Model(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return Opaque.apply(super().forward(x))

    net = Model(nn.Linear(3, 3), PopulationBatchNorm1d(3))
    with pytest.raises(ModelError, match="Model cannot be differentiated forward"):
        CurvaturePenalty(net, 8)(torch.randn(8, 3))
    ghosts = nn.Sequential(PopulationBatchNorm1d(3), bnlens.nn.BatchNorm1d(3, statistics_batch_size=4))
    with pytest.raises(ModelError, match="cannot be differentiated forward"):
        CurvaturePenalty(ghosts, 8)(torch.randn(8, 3))
