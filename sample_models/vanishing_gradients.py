"""Why deep sigmoid networks did not learn: the gradient vanishes on its way to the first layer.

Nine linear layers with a sigmoid between them, on handwritten digits. The slope of a sigmoid is at most 1/4,
so the gradient gets several times smaller at each layer that it passes on its way back.

What to watch:
* Forward: in the picture of `activations.7` all rows look alike, though each row is another image: what the
  image was has been lost on the way.
* Backward: in the gradient flow (Overview, logarithmic axis) the norms are a ramp from the last layer down to
  the first, about ten thousand times smaller.
* Step: the last layers move. The update ratio of `layers.0` is so small that this layer never trains.
* Run an epoch: the loss stays near ln 10 = 2.30, the price of guessing.

Then set ACTIVATION to nn.ReLU and open the file again: the ramp is nearly flat, and the loss falls below 1.
"""

import torch
from digits_data import digits
from torch import Tensor, nn

from gradscope import Recipe

ACTIVATION: type[nn.Module] = nn.Sigmoid
DEPTH = 8
WIDTH = 64


class DeepMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [28 * 28] + [WIDTH] * DEPTH
        self.layers = nn.ModuleList(nn.Linear(size, WIDTH) for size in sizes[:-1])
        self.activations = nn.ModuleList(ACTIVATION() for _ in self.layers)
        self.output = nn.Linear(WIDTH, 10)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(start_dim=1)
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x))
        return self.output(x)


def recipe() -> Recipe:
    model = DeepMLP()
    return Recipe(
        name="Vanishing gradients",
        description="Nine layers with sigmoids: the gradient fades on its way back, and nothing is learned.",
        model=model,
        dataset=digits(),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9),
        batch_size=32,
    )
