"""A convolutional network: with everything that makes layers hard to watch.

Batch normalisation keeps running statistics, ReLU overwrites its input in place, dropout draws at random,
Adam keeps two moments of every parameter, and the learning rate falls in stairs, once every two epochs.

What to watch:
* Forward: whatever `conv1` puts out, `norm1` starts by giving each channel mean 0 and standard deviation 1.
  `relu1` works in place, so both share memory; their summaries still differ, each taken at its own moment.
* Forward, with `dropout` selected: three in ten of its inputs are zeroed, the others grow by 1 / 0.7.
* Step: Adam's first update has the size of the learning rate, 0.002, for almost every parameter, however
  small its gradient is: the direction counts, not the length.
* Run: in the Learning rate tab StepLR halves the rate after every second epoch.
"""

from collections import OrderedDict

import torch
from digits_data import digits
from torch import nn

from gradscope import Recipe


def network() -> nn.Sequential:
    layers = OrderedDict(
        conv1=nn.Conv2d(1, 16, kernel_size=3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(16),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False),
        norm2=nn.BatchNorm2d(32),
        relu2=nn.ReLU(inplace=True),
        pool2=nn.MaxPool2d(2),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.3),
        output=nn.Linear(32 * 7 * 7, 10),
    )
    return nn.Sequential(layers)


def recipe() -> Recipe:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return Recipe(
        name="Digits, a CNN",
        description="Convolutions, BatchNorm, in-place ReLU, Dropout, Adam, and a rate that falls in stairs.",
        model=model,
        dataset=digits(),
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5),
        scheduler_unit="epoch",
        batch_size=32,
    )
