"""A small residual network: each block adds what it has learned to what came in.

Three blocks on handwritten digits. The sum is made in place (`out += ...`), and so is every ReLU, as usual. The last
BatchNorm of each block starts with weight 0, a common trick: at first a block adds nothing.

What to watch:
* Forward, first step: `norm2` of every block gives only zeros, so `blocks.0` hands on exactly what it was given.
* Backward, first step: a sum gives both of its terms the same gradient, so those of `norm2` and `shortcut` in a block
  agree in every number. The convolutions inside the blocks get exactly zero, a hollow circle each in the
  gradient flow; here that is no mistake, as `norm2.weight` does get a gradient.
* Step, then Forward and Backward again: `norm2.weight` has left 0, and every convolution has a gradient.
* Run: the loss falls from 2.3 to about 0.2 within the first epoch.
"""

import torch
from digits_data import digits
from torch import Tensor, nn

from gradscope import Recipe


class Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, kernel_size=1, stride=stride, bias=False)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(Block(8, 8), Block(8, 16, stride=2), Block(16, 32, stride=2))
        self.output = nn.Linear(32 * 4 * 4, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(images)))
        x = self.blocks(x)
        return self.output(x.flatten(start_dim=1))


def recipe() -> Recipe:
    model = ResNet()
    return Recipe(
        name="Digits, a ResNet",
        description="Residual blocks with in-place sums and in-place ReLU, on handwritten digits.",
        model=model,
        dataset=digits(size=16),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        batch_size=32,
    )
