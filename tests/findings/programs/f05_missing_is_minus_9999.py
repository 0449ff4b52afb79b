"""A table whose missing values are -9999; they are standardised along with the rest."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "input-not-scaled", ""
EVIDENCE = "a middle half far below the spread, and a run without"
BATCH_SIZE, STEPS = 32, 100
SHUFFLE = True

def rows(n):
    x = torch.randn(n, 8)
    return x, (x[:, :4] * torch.tensor([1.0, -2.0, 1.5, 1.0])).sum(1) + x[:, 4] * x[:, 5]


def filled(x):
    missing = torch.rand(x.shape) < 0.05
    x = torch.where(missing, -9999.0, x)
    x = (x - x.mean(0)) / x.std(0)
    return x


def make_model():
    torch.manual_seed(733)
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), nn.Flatten(0))


def make_dataset():
    torch.manual_seed(734)
    x, y = rows(2000)
    return TensorDataset(filled(x), y)


def make_loss():
    return nn.MSELoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=3e-3)
