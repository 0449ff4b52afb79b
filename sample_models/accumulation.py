"""Gradient accumulation: four small batches make one step, with the gradient of one large batch.

Where a batch of 96 does not fit into memory, four micro-batches of 24 do: each loss is divided by four, the gradients
add up, and only then the optimizer steps. An epoch has 75 micro-batches: 18 windows of four, and a last one of three.

What to watch:
* Forward and Backward: after the first Backward comes Forward again, and Step has to wait for the fourth. `.grad` is
  what the micro-batches so far add up to.
* Step: one for four batches. The loss of the step is the mean over its micro-batches.
* Run an epoch: the last window has three micro-batches, and each loss is divided by three.

Then set MICRO_BATCH to 96 and ACCUMULATE to 1 and open the file again: the gradients of the steps agree to six digits,
as each step sees the same 96 images. Only the 19th differs: its last micro-batch has 21 images, which count
as much as the 24 of the others. With BatchNorm all would differ, as it would see 24 images at a time.
"""

import torch
from digits_data import digits
from torch import nn

from gradscope import Recipe

MICRO_BATCH = 24
ACCUMULATE = 4


def recipe() -> Recipe:
    model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10))
    return Recipe(
        name="Gradient accumulation",
        description="Four micro-batches of 24 make one step of 96; the last window of an epoch is shorter.",
        model=model,
        dataset=digits(),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        accumulate=ACCUMULATE,
        batch_size=MICRO_BATCH,
    )
