"""Initial weights of the convolutional nets."""

from __future__ import annotations

from torch import nn

__all__ = ["initialize_convolutions"]


def initialize_convolutions(model: nn.Module) -> None:
    """Draw the weights of every ``Conv2d`` from N(0, 2 / fan_in) (He et al. 2015, arXiv 1502.01852), in place.

    BN makes the output blind to their scale but not the training: the step in direction is the learning rate over the
    squared norm, and PyTorch's default, six times smaller in square, is noisier at the learning rates used here. Without
    normalization this law keeps the activations' mean square from layer to layer; biases, where there are any, start at
    zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
