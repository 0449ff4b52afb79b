"""The handwritten digits that several samples share. Not a recipe: it only loads `data/digits.npz`."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

FILE = Path(__file__).with_name("data") / "digits.npz"
BRIGHTEST = 16


def digits(*, size: int = 28) -> TensorDataset:
    """1,797 pairs: an image of shape (1, size, size) with values from 0 to 1, and its digit as an integer."""
    with np.load(FILE) as arrays:
        images = torch.from_numpy(arrays["images"]).float() / BRIGHTEST
        labels = torch.from_numpy(arrays["labels"]).long()
    images = F.interpolate(images[:, None], size=(size, size), mode="bilinear", align_corners=False)
    return TensorDataset(images, labels)
