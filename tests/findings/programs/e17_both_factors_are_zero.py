"""Low-rank adapters on a frozen network: A and B both start at zero, so the gradient of each is zero, for ever."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "not-reached", "first.down"
EVIDENCE = "all gradients are exactly 0"
BATCH_SIZE, STEPS = 32, 100


class Adapted(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.base = nn.Linear(a, b)
        self.base.requires_grad_(False)
        self.down, self.up = nn.Linear(a, 3, bias=False), nn.Linear(3, b, bias=False)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.up.weight)
    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Adapted(12, 24), Adapted(24, 2)
    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def make_model():
    torch.manual_seed(33)
    return Net()


def rows(n):
    x = torch.randn(n, 12)
    return x, torch.stack([x[:, 0] + x[:, 1], x[:, 2].tanh()], 1)


def make_dataset():
    torch.manual_seed(34)
    return TensorDataset(*rows(640))


def make_loss():
    return nn.MSELoss()


def make_optimizer(params):
    return torch.optim.Adam([p for p in params if p.requires_grad], lr=1e-2)
