"""Frozen by mistake: the optimizer was made before the head was replaced, and holds a layer that is gone.

The usual recipe of transfer learning: freeze the body, put a new head on it, train the head. The body keeps its random
features on purpose, they are good enough for digits. But the optimizer was made too early, from the old head.

What to watch:
* Before anything runs, gradscope warns: the optimizer does not hold `head.weight` and `head.bias`, and holds 2 tensors
  that are not in the model. Layers marks `body` as "frozen", as it should be, and `head` as "not in optimizer".
* Backward: `head.weight` gets a gradient, so the loss does reach it. From the second step on gradscope says that the
  gradients of the head add up: no optimizer holds them, so nothing clears them either.
* Step: the update of `head.weight` and `head.bias` is exactly zero (Updates tab, Zeros: 100 %).
* Run two epochs: the loss goes up and down near ln 10 = 2.30, by the batch, and on average it stays.

Then make the optimizer after the new head, by moving that line down by one: the loss falls below 0.5 in two epochs.
"""

import torch
from digits_data import digits
from torch import Tensor, nn

from gradscope import Recipe


class Classifier(nn.Module):
    def __init__(self, *, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 256), nn.Tanh())
        self.head = nn.Linear(256, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def recipe() -> Recipe:
    model = Classifier(classes=1000)
    model.body.requires_grad_(False)
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9)
    model.head = nn.Linear(256, 10)
    return Recipe(
        name="Frozen by mistake",
        description="The optimizer still holds the old head: the new one gets gradients, and never moves.",
        model=model,
        dataset=digits(),
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        batch_size=32,
    )
