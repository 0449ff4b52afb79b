"""Exploding gradients: each layer makes them larger, and a few steps later there is nothing left but NaN.

The network of `vanishing_gradients.py` with ReLU, and with weights that start twice as large as they should. Each
layer doubles the signal on its way forward, and the gradient on its way back.

What to watch:
* Forward: in the Activations tab the standard deviation doubles from layer to layer, and the first loss is not
  near ln 10 = 2.30 but above 50.
* Backward: choose "Gradient flow (activations)" in the Overview: going back, the norms double from layer to layer,
  about a hundred times in all.
* Go on step by step: the gradient norms grow from hundreds to billions and more, and from the second step on the
  update ratios of most weights are above their healthy band.
* The fourth or fifth Forward gives NaN: Layers shows it in red, and the log names the layer in which it begins. A run
  stops there.

Then set GAIN to 1 and open the file again: the flow is flat, and the loss falls below 1 in three epochs. Or keep GAIN
and set CLIP_NORM to 1.0: no step is longer than 0.02 now, and the loss falls below 10, though the start was bad.
"""

import torch
from digits_data import digits
from torch import Tensor, nn

from gradscope import Recipe

GAIN = 2.0
CLIP_NORM: float | None = None
DEPTH = 8
WIDTH = 64


class DeepMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = [28 * 28] + [WIDTH] * DEPTH
        self.layers = nn.ModuleList(nn.Linear(size, WIDTH) for size in sizes[:-1])
        self.activations = nn.ModuleList(nn.ReLU() for _ in self.layers)
        self.output = nn.Linear(WIDTH, 10)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight)
            with torch.no_grad():
                layer.weight *= GAIN

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(start_dim=1)
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = activation(layer(x))
        return self.output(x)


def recipe() -> Recipe:
    model = DeepMLP()
    return Recipe(
        name="Exploding gradients",
        description="Nine layers whose weights start too large: the gradient grows on its way back, until NaN.",
        model=model,
        dataset=digits(),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.02),
        clip_norm=CLIP_NORM,
        batch_size=32,
    )
