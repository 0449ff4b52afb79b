"""Linear regression with two bare tensors: the whole training step, small enough to check by hand.

The model is w * x + b, the loss is the squared error. There is no nn.Module: w and b are plain tensors that
ask for a gradient. The points lie on the line y = 3x - 2, and come one at a time.

What to watch:
* Forward: the first batch is x = 2, y = 4. With w = 1, b = 0 the prediction is 2 and the loss (2 - 4)^2 = 4.
* Backward: dL/dw = 2 (2 - 4) x = -8 and dL/db = 2 (2 - 4) = -4. A widely copied tutorial prints 4 and 2
  here; that is wrong: the minus sign and the 2 that comes down from the square are missing.
* Step: SGD subtracts lr * gradient, so w becomes 1 + 0.05 * 8 = 1.4, and b becomes 0 + 0.05 * 4 = 0.2.
* Run: w goes to 3 and b to -2, and every gradient shrinks to nothing.

Exercise: use the absolute error, `(prediction - y).abs()`. Which two gradients does the first step show now?
"""

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from gradscope import Recipe

POINTS = [(2.0, 4.0), (-1.0, -5.0), (1.0, 1.0), (-2.0, -8.0), (3.0, 7.0), (0.0, -2.0)]


def squared_error(model: dict[str, Tensor], batch: list[Tensor]) -> tuple[Tensor, Tensor]:
    x, y = batch
    prediction = model["w"] * x + model["b"]
    return ((prediction - y) ** 2).mean(), prediction


def recipe() -> Recipe:
    w = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(0.0, requires_grad=True)
    x, y = torch.tensor(POINTS).unbind(dim=1)
    return Recipe(
        name="Linear regression",
        description="Two bare tensors, w and b, and a squared error. Every number can be checked by hand.",
        model={"w": w, "b": b},
        dataset=TensorDataset(x, y),
        loss=None,
        optimizer=torch.optim.SGD([w, b], lr=0.05),
        training_step=squared_error,
        batch_size=1,
        shuffle=False,
    )
