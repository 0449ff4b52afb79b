"""A soft mixture of experts whose gate is normalised over the samples of the batch."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "batch-leak", ""
EVIDENCE = "sample 0 moves with the others"
BATCH_SIZE, STEPS = 32, 120


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(8, 4)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 24), nn.GELU(), nn.Linear(24, 3)) for _ in range(4))
    def forward(self, x):
        w = torch.softmax(self.gate(x), dim=0)
        return (w[:, :, None] * torch.stack([e(x) for e in self.experts], 1)).sum(1)


def make_model():
    torch.manual_seed(429)
    return Net()


def make_dataset():
    torch.manual_seed(430)
    x = torch.randn(640, 8)
    return TensorDataset(x, torch.where(x[:, 3] > 0, x[:, :3].argmax(1), x[:, :3].argmin(1)))


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
