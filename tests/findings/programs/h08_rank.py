"""Ranking of bags of items by their angle, with empty bags and an eps; the target is always the first."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "", ""
EVIDENCE = ""
BATCH_SIZE, STEPS = 32, 80


class Unit(nn.Module):
    def forward(self, h):
        return h / (h ** 2).sum(-1, keepdim=True).add(1e-6).sqrt()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.items = nn.EmbeddingBag(40, 16, mode="sum", padding_idx=0)
        self.turn = nn.Linear(16, 16, bias=False)
        self.unit = Unit()
    def forward(self, x):
        e = self.unit(self.turn(self.items(x.flatten(0, 1)).unflatten(0, x.shape[:2])))
        return 4 * (e[:, :1] * e[:, 1:]).sum(-1)


def make_model():
    torch.manual_seed(525)
    return Net()


def make_dataset():
    torch.manual_seed(526)
    kind = torch.randint(0, 3, (640, 1, 1))
    other = (kind + torch.randint(1, 3, (640, 1, 1))) % 3
    q = 1 + kind * 13 + torch.randint(0, 13, (640, 1, 5))
    good = 1 + kind * 13 + torch.randint(0, 13, (640, 1, 5))
    bad = 1 + other * 13 + torch.randint(0, 13, (640, 1, 5))
    bad[torch.rand(640) < 0.05] = 0
    return TensorDataset(torch.cat([q, good, bad], 1), torch.zeros(640, dtype=torch.long))


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
