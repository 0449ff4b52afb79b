"""A learning rate that is too high: every step overshoots, and lands farther away than it started.

A straight line through 64 points, all in one batch. Seen along `weight` the loss is a bowl, and how strongly it curves
says which rates work. The curvature is 8: a step multiplies the error of `weight` by 1 - 8 lr, and with every rate
above 2 / 8 = 0.25 that is beyond -1: each step crosses the bottom of the bowl and climbs higher on the other side.

What to watch:
* Run ten steps: in the Overview the loss soon grows by the same factor each time, (1 - 8 * 0.3)^2 = 1.96.
* Gradients tab, Mean: the gradient of `weight` changes its sign at every step. That is how overshooting looks.
* Updates tab, L2 norm: each update of `weight` is 1.4 times as long as the one before; they should get shorter.
* Run on: after some 120 steps the loss is Inf.

Then set LEARNING_RATE to 0.1 and open the file again: the loss falls at every step, and the gradient keeps its sign until
it is tiny. At 0.24 the loss falls too, with a sign that changes at every step; at 0.26 it grows.
"""

import torch
from torch import nn
from torch.utils.data import TensorDataset

from gradscope import Recipe

LEARNING_RATE = 0.3


def points() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, 64).unsqueeze(1)
    x = 2 * x / x.square().mean().sqrt()
    y = 3 * x - 2 + 0.1 * torch.randn(x.shape, generator=generator)
    return TensorDataset(x, y)


def recipe() -> Recipe:
    model = nn.Linear(1, 1)
    dataset = points()
    return Recipe(
        name="Learning rate too high",
        description="A bowl-shaped loss, a rate above 2 / curvature, and steps that overshoot farther each time.",
        model=model,
        dataset=dataset,
        loss=nn.MSELoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=LEARNING_RATE),
        batch_size=len(dataset),
    )
