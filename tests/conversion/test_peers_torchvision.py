"""Feature extraction by torch.fx, as torchvision and timm do it."""

import copy

import pytest
import torch
from torch import nn

import bnlens
import bnlens.nn
from peers import define_torchvision_operators, peer

define_torchvision_operators()
torchvision = peer("torchvision")
timm = peer("timm")
extraction = peer("torchvision.models.feature_extraction")


@pytest.mark.parametrize("M", [None, 4, 32])
def test_features_of_a_converted_model(M):
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=3)
    nodes = extraction.get_graph_node_names(model)
    bnlens.convert(model, statistics_batch_size=M)
    assert extraction.get_graph_node_names(model) == nodes
    twin = copy.deepcopy(model)
    extractor = extraction.create_feature_extractor(model, ["layer1.0.bn1", "layer2"])
    x, seen = torch.randn(8, 3, 32, 32), {}
    twin.layer1[0].bn1.register_forward_hook(lambda module, args, output: seen.update({"layer1.0.bn1": output}))
    twin.layer2.register_forward_hook(lambda module, args, output: seen.update({"layer2": output}))
    for training in (True, False):
        found = extractor.train(training)(x)
        twin.train(training)(x)
        for name, value in seen.items():
            torch.testing.assert_close(found[name], value.detach() if name == "layer2" else value)
    assert extractor.layer1._modules["0"].bn1 is model.layer1[0].bn1


@pytest.mark.parametrize("name", ["efficientnet_lite0", "regnetx_002"])
def test_features_of_timms_layers(name):
    """timm knows its layer with an activation by its exact class, and the converted one by what fx sees."""
    torch.manual_seed(0)
    model = bnlens.convert(timm.create_model(name, num_classes=3), statistics_batch_size=4)
    nodes = [node for node in timm.layers.get_graph_node_names(model)[1] if "bn" in node]
    assert nodes
    extractor = timm.layers.create_feature_extractor(copy.deepcopy(model), nodes[:3])
    x, seen = torch.randn(8, 3, 64, 64), {}
    for node in nodes[:3]:
        hook = lambda module, args, output, node=node: seen.update({node: output.clone()})  # noqa: E731
        model.get_submodule(node).register_forward_hook(hook)
    for training in (True, False):
        found = extractor.train(training)(x)
        model.train(training)(x)
        for node in nodes[:3]:
            torch.testing.assert_close(found[node], seen[node])


def test_timms_sync_conversion_warns():
    layer = timm.layers.BatchNormAct2d(3)
    model = bnlens.convert(nn.Sequential(layer, nn.BatchNorm2d(3)), statistics_batch_size=4)
    with pytest.warns(UserWarning, match="sync=True"):
        timm.layers.convert_sync_batchnorm(model)
