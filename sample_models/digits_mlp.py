"""A first neural network: 784 pixels, 256 hidden units, 10 digits.

The classic small classifier, on 1,797 real handwritten digits. Nothing is hidden: one linear layer, a ReLU,
another linear layer, cross-entropy and plain SGD.

What to watch:
* Forward: the loss of the first batch is near ln 10 = 2.30, the price of guessing among ten digits. About
  half of what `relu` puts out is exactly zero.
* Backward: the gradient reaches `output` first, and `hidden` last. Pixels that are black in every image of
  the batch leave whole columns of zeros in the gradient of `hidden.weight`.
* Step: in plain SGD an update is -lr times the gradient; compare one number in Gradients and in Updates.
* Run two epochs: the loss falls below 0.6. The last batch of an epoch holds only 5 images; its gradient is a
  poor estimate, and the loss after it is often a little higher.
"""

import torch
from digits_data import digits
from torch import Tensor, nn

from gradscope import Recipe


class SimpleNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(28 * 28, 256)
        self.relu = nn.ReLU()
        self.output = nn.Linear(256, 10)

    def forward(self, images: Tensor) -> Tensor:
        pixels = self.flatten(images)
        return self.output(self.relu(self.hidden(pixels)))


def recipe() -> Recipe:
    model = SimpleNN()
    return Recipe(
        name="Digits, a small MLP",
        description="784-256-10 on real handwritten digits with plain SGD: the place to start.",
        model=model,
        dataset=digits(),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        batch_size=32,
    )
