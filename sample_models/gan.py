"""A GAN in the plane: two networks, two optimizers, and eight heaps of points on a circle to imitate.

The generator turns noise into points, the discriminator says which points are real. On each batch they take turns, each
with its own step and its own optimizer: first the discriminator learns, then the generator learns to deceive it.

What to watch:
* Discriminator's turn: the first loss is near ln 2 = 0.69, as it cannot know better. The points were detached, so
  `generator` gets no gradient, and Step leaves it where it is.
* Generator's turn: its gradient comes through the discriminator, which gets gradients too, and does not move: they are
  not its own, and are cleared before its next turn.
* Run: neither loss falls for long, since each gets harder as the other gets better. Look at the output of `generator`
  instead: its standard deviation starts at 0.1, overshoots, and settles near 1.4, that of the real points.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gradscope import Recipe

HEAPS, RADIUS, SPREAD = 8, 2.0, 0.1
NOISE = 2


def ring(*, points: int) -> TensorDataset:
    """Points around eight places on a circle, shape (points, 2)."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.randint(HEAPS, (points,), generator=generator) * (2 * math.pi / HEAPS)
    centre = RADIUS * torch.stack([angle.cos(), angle.sin()], dim=1)
    return TensorDataset(centre + SPREAD * torch.randn(points, 2, generator=generator))


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, outputs)
    )


def generate(model: nn.ModuleDict, like: Tensor) -> Tensor:
    return model["generator"](torch.randn(len(like), NOISE, device=like.device))


def discriminator_step(model: nn.ModuleDict, batch: list[Tensor]) -> Tensor:
    (real,) = batch
    fake = generate(model, like=real).detach()
    scores = model["discriminator"](torch.cat([real, fake]))
    is_real = torch.cat([torch.ones_like(real[:, :1]), torch.zeros_like(fake[:, :1])])
    return F.binary_cross_entropy_with_logits(scores, is_real)


def generator_step(model: nn.ModuleDict, batch: list[Tensor]) -> tuple[Tensor, Tensor]:
    (real,) = batch
    fake = generate(model, like=real)
    scores = model["discriminator"](fake)
    return F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores)), fake


def recipe() -> Recipe:
    model = nn.ModuleDict({"generator": mlp(NOISE, 2), "discriminator": mlp(2, 1)})
    optimizers = {
        "discriminator": torch.optim.Adam(model["discriminator"].parameters(), lr=1e-2, betas=(0.5, 0.9)),
        "generator": torch.optim.Adam(model["generator"].parameters(), lr=3e-3, betas=(0.5, 0.9)),
    }
    return Recipe(
        name="GAN in the plane",
        description="Two networks against each other, each with an optimizer of its own, on points in the plane.",
        model=model,
        dataset=ring(points=2048),
        optimizer=optimizers,
        training_step={"discriminator": discriminator_step, "generator": generator_step},
        batch_size=128,
    )
