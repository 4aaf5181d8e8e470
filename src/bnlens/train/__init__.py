"""A small trainer, the nets of the experiments, and readers of image data and checkpoints."""

from bnlens.train.checkpoint import load_checkpoint, save_checkpoint
from bnlens.train.data import ImageData, check_data, load_data, loader
from bnlens.train.evaluate import Evaluation, evaluate
from bnlens.train.fit import fit
from bnlens.train.history import History
from bnlens.train.nets import NETS, build_net, check_net
from bnlens.train.ready import ready_net

__all__ = [
    "NETS",
    "Evaluation",
    "History",
    "ImageData",
    "build_net",
    "check_data",
    "check_net",
    "evaluate",
    "fit",
    "load_checkpoint",
    "load_data",
    "loader",
    "ready_net",
    "save_checkpoint",
]
