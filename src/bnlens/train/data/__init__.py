"""Image data as tensors: the embedded digits, CIFAR-10 in its usual layouts, folders of images by class."""

from bnlens.train.data.image_data import ImageData, loader
from bnlens.train.data.load import check_data, load_data

__all__ = ["ImageData", "check_data", "load_data", "loader"]
