"""A soft mixture of experts: four experts of one shape, a gate over them."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "", ""
EVIDENCE = ""
BATCH_SIZE, STEPS = 32, 120


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(8, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 24), nn.GELU(), nn.Linear(24, 3)) for _ in range(4))
    def forward(self, x):
        w = torch.softmax(self.gate(x), dim=-1)
        return (w[:, :, None] * torch.stack([e(x) for e in self.experts], 1)).sum(1)


def make_model():
    torch.manual_seed(529)
    return Net()


def make_dataset():
    torch.manual_seed(530)
    x = torch.randn(640, 8)
    return TensorDataset(x, torch.where(x[:, 3] > 0, x[:, :3].argmax(1), x[:, :3].argmin(1)))


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
