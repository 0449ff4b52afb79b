"""Diffusion in one dimension: the predicted noise is (B, 1), the true one (B,)."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "broadcast-in-loss", ""
EVIDENCE = "(64, 64)"
BATCH_SIZE, STEPS = 64, 120


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    def forward(self, x):
        return self.net(x)


def training_step(model, batch):
    x = batch[0]
    t = torch.rand(len(x))
    eps = torch.randn(len(x))
    noisy = (1 - t).sqrt() * x + t.sqrt() * eps
    out = model(torch.stack([noisy, t], 1))
    return ((out - eps) ** 2).mean()


def make_model():
    torch.manual_seed(423)
    return Net()


def make_dataset():
    torch.manual_seed(424)
    return TensorDataset(torch.where(torch.rand(960) < 0.5, -1.0, 1.0) + 0.05 * torch.randn(960))


def make_loss():
    return None


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
