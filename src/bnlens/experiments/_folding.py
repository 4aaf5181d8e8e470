"""Batch normalization folded into weights: the same function of an image, without BN layers."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from bnlens.conversion import revert

__all__ = ["fold"]


def fold(model: nn.Module) -> nn.Module:
    """Return a copy of a net, all of whose parameters train, with each BN layer in the weights before it.

    In eval mode it computes the same: running statistics, gamma and beta of a layer go into the convolution or linear layer
    whose output it alone takes. A layer behind anything else becomes a depthwise 1x1 convolution.

    Args:
        model: of `bnlens.experiments._training.build`.
    """
    folded = fx.symbolic_trace(revert(copy.deepcopy(model)).eval())
    for node in list(folded.graph.nodes):
        if not (node.op == "call_module" and isinstance(layer := folded.get_submodule(node.target), _BatchNorm)):
            continue
        before = node.args[0]
        weights = None
        if before.op == "call_module" and len(before.users) == 1:
            weights = folded.get_submodule(before.target)
        if isinstance(weights, nn.Linear):
            folded.add_submodule(before.target, fuse_linear_bn_eval(weights, layer))
        elif isinstance(weights, nn.Conv2d):
            folded.add_submodule(before.target, fuse_conv_bn_eval(weights, layer))
        else:
            folded.add_submodule(node.target, fuse_conv_bn_eval(_identity(layer), layer))
            continue
        node.replace_all_uses_with(before)
        folded.graph.erase_node(node)
    folded.delete_all_unused_submodules()
    folded.recompile()
    return folded.requires_grad_()  # the biases that fusion makes would not train


def _identity(layer: _BatchNorm) -> nn.Conv2d:
    """Return the depthwise convolution that gives a layer its input."""
    channels = layer.num_features
    identity = nn.Conv2d(channels, channels, 1, groups=channels, bias=False).to(layer.running_mean).eval()
    torch.nn.init.ones_(identity.weight)
    return identity
