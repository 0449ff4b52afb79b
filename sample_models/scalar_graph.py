"""A graph of four numbers, and an `if` that draws another graph: the chain rule, node by node.

With a = 1, b = 2, c = 3, d = 4 the graph is x = a + b, y = c * d, z = x + y, and z is the loss. The graph is
recorded while the code runs (define-by-run), so a plain Python `if` decides which nodes exist: y counts only
while it is above the limit that the batch brings. Otherwise z is x squared, and y is left out.

What to watch:
* Forward: x = 3, y = 12, z = 15. The first limit is 0, so y counts.
* Backward: dz/da = dz/db = 1, because a sum hands its gradient on; dz/dc = d = 4 and dz/dd = c = 3, because
  a product hands on the other factor.
* Next batch: y has become 2.6 * 3.7 = 9.62, and the limit is now 10. The other branch runs: c and d have no
  gradient at all (not zero: none), and Step leaves them where they are. a and b get 2x = 5.6.
* Run: the batches change branches until y falls below 0. From then on no batch reaches c and d, as in a dead
  ReLU, while x goes to 0 on its own.
"""

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from gradscope import Recipe

LIMITS = [0.0, 10.0] * 5


def graph(model: dict[str, Tensor], batch: list[Tensor]) -> Tensor:
    (limit,) = batch
    x = model["a"] + model["b"]
    y = model["c"] * model["d"]
    if y.item() > limit.item():
        return x + y
    return x * x


def recipe() -> Recipe:
    values = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    model = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    return Recipe(
        name="Scalar graph",
        description="Four numbers, the gradients 1, 1, 4, 3, and an if that changes the graph as it trains.",
        model=model,
        dataset=TensorDataset(torch.tensor(LIMITS)),
        loss=None,
        optimizer=torch.optim.SGD(model.values(), lr=0.1),
        training_step=graph,
        batch_size=1,
        shuffle=False,
    )
