"""A forgotten zero_grad: every Backward adds to `.grad`, and each step goes by the sum of all gradients so far.

The recipe says `zero_grad="manual"`, so nothing clears the gradients unless you press Zero grad. In a loop of your own
that is a missing `optimizer.zero_grad()`, and nothing fails: the loss even falls faster at first.

What to watch:
* Backward, from the second step on: gradscope tells you that it adds to gradients of an earlier step.
* Gradients tab, L2 norm: the norms grow step by step, three times larger after six steps, ten after forty.
* Updates tab: the steps grow with them, though the learning rate stays the same.
* Run two epochs: like a ball without friction the loss rolls through the valley and up the other side, from below 0.3
  to above 1 again.

Then set ZERO_GRAD to "auto" (or press Zero grad before each Forward) and open the file again: the norms stay about
the same, and the loss falls below 1.
"""

import torch
from digits_data import digits
from torch import nn

from gradscope import Recipe

ZERO_GRAD = "manual"


def recipe() -> Recipe:
    model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 64), nn.ReLU(), nn.Linear(64, 10))
    return Recipe(
        name="Forgotten zero_grad",
        description="Nobody clears the gradients: they add up, the steps grow, and the loss turns round.",
        model=model,
        dataset=digits(),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        zero_grad=ZERO_GRAD,
        batch_size=32,
    )
