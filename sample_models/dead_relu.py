"""A dead ReLU: one bias in the wrong place, and the layers below never learn again.

Is it an eight? One digit in ten is, so the output should start with "probably not": a bias of log(0.1 / 0.9), as
detectors of rare things have it. Here the line that sets it names the wrong layer. `hidden2` puts out only negative
numbers, `relu2` makes each of them 0, and where a ReLU is at 0 no gradient passes.

What to watch:
* Forward: in the Activations tab choose Zeros: 100 % of `relu2`, about half of `relu1`. `output` gives the same number
  for every image, its own bias.
* Backward: in the gradient flow (Overview) `hidden1`, `hidden2` and `output.weight` have hollow circles: a gradient
  that is not small but exactly zero. Only `output.bias` has one.
* Step: `output.bias` moves, nothing else does, and no later step can wake `relu2` up.
* Run: the loss stops near 0.32, the price of knowing how rare eights are and nothing more.

Then give the bias to `model.output` and open the file again: the loss falls below 0.2 in two epochs.
"""

import math

import torch
from digits_data import digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gradscope import Recipe

PRIOR = 0.1


class EightDetector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(28 * 28, 64)
        self.relu1 = nn.ReLU()
        self.hidden2 = nn.Linear(64, 64)
        self.relu2 = nn.ReLU()
        self.output = nn.Linear(64, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu1(self.hidden1(images.flatten(start_dim=1)))
        return self.output(self.relu2(self.hidden2(x)))


def eights() -> TensorDataset:
    images, labels = digits().tensors
    return TensorDataset(images, (labels == 8).float().unsqueeze(1))


def recipe() -> Recipe:
    model = EightDetector()
    nn.init.constant_(model.hidden2.bias, math.log(PRIOR / (1 - PRIOR)))
    return Recipe(
        name="Dead ReLU",
        description="A bias in the wrong layer: a ReLU that gives only zeros, and gradients that are exactly zero.",
        model=model,
        dataset=eights(),
        loss=nn.BCEWithLogitsLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        batch_size=32,
    )
