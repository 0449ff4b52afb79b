"""Mixed precision: layers that compute in float16, and a scaler that finds out how large the gradients may be.

float16 ends at 65,504, and below 0.00000003 it knows only zero. So that small gradients survive, the loss is multiplied
by a scale before Backward, and the gradients are divided by it before Step. A scale that is too large makes them
overflow; then the scaler skips the step and halves the scale. This loss is a sum over the batch, not a mean, so
that its gradients are large.

What to watch:
* Forward: the outputs of the two linear layers are float16; all parameters, and what the optimizer does, are float32.
* First Backward: at a scale of 65,536 some gradients are Inf. Step is skipped and every update is exactly zero.
  That is how it should be: no number of the model has been harmed.
* The next steps: the scale halves until the gradients fit, after two or three skipped steps, and the loss falls. Gradients
  are shown divided by the scale, so you can compare them from step to step.
* Run an epoch: when the gradients grow, a step is skipped now and then; the loss falls all the same, to half.

Then set PRECISION to "bf16" and open the file again: it reaches as far as float32, needs no scale and skips nothing.
"""

import torch
from digits_data import digits
from torch import nn

from gradscope import Recipe

PRECISION = "fp16"


def recipe() -> Recipe:
    model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10))
    return Recipe(
        name="Mixed precision",
        description="float16 under autocast, a gradient scaler, and first steps that are skipped until the scale fits.",
        model=model,
        dataset=digits(),
        loss=nn.CrossEntropyLoss(reduction="sum"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.002),
        precision=PRECISION,
        batch_size=32,
    )
