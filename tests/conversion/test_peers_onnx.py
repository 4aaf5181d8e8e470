"""Torch's export to ONNX, of training, run by ONNX's reference."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.export import Dim

import bnlens
import bnlens.nn
from peers import peer

peer("onnxscript")
reference = peer("onnx.reference")


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("M", "regime"), [(None, "auto"), (4, "ghost"), (32, "window"), (math.inf, "window")])
@pytest.mark.filterwarnings("ignore")  # of the exporter's own
def test_training_with_a_dynamic_batch(M, regime, affine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=affine, track_running_stats=affine), nn.ReLU())
    bnlens.set_statistics_batch_size(bnlens.convert(model), M, regime=regime)
    twin = copy.deepcopy(model)
    sizes = 4 * Dim("k", min=1, max=8) if regime == "ghost" else Dim("n", min=2, max=32)
    x = torch.randn(8, 3, 6, 6)
    program = torch.onnx.export(
        model,
        (x,),
        dynamic_shapes=({0: sizes},),
        dynamo=True,
        training=torch.onnx.TrainingMode.TRAINING,
        verbose=False,
    )
    run = reference.ReferenceEvaluator(program.model_proto)
    z = 2 * torch.randn(12, 3, 6, 6) + 1
    (y,) = run.run(None, {program.model_proto.graph.input[0].name: z.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), twin(z).detach(), rtol=1e-4, atol=1e-5)
