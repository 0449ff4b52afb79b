"""The text that the character model reads. Not a recipe: it only loads `data/sonnets.txt`."""

from pathlib import Path

import torch
from torch.utils.data import TensorDataset

FILE = Path(__file__).with_name("data") / "sonnets.txt"


def sonnets(*, length: int, stride: int = 16) -> tuple[TensorDataset, list[str]]:
    """The text in overlapping windows, one every `stride` characters, and the alphabet it is spelled in.

    A window is a pair: `length` characters, and the `length` characters one place further on.
    """
    text = FILE.read_text(encoding="utf-8")
    alphabet = sorted(set(text))
    tokens = torch.tensor([alphabet.index(character) for character in text])
    windows = tokens.unfold(0, length + 1, stride)
    return TensorDataset(windows[:, :-1], windows[:, 1:]), alphabet
