"""Diffusion: the noise to be predicted is not the one that was added."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "labels-unrelated", ""
EVIDENCE = "the target is drawn, and not given"
BATCH_SIZE, STEPS = 64, 100
SHUFFLE = True

class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    def forward(self, x, t):
        return self.net(torch.cat([x, t[:, None]], 1))


def make_model():
    torch.manual_seed(709)
    return Denoiser()


def data(n):
    a = 6.28 * torch.rand(n)
    return torch.stack([a.cos(), a.sin()], 1)


def make_dataset():
    torch.manual_seed(710)
    return TensorDataset(data(1600))


def make_loss():
    return None


def add_noise(x, t, noise=None):
    noise = torch.randn_like(x) if noise is None else noise
    keep = (1 - t)[:, None]
    return keep.sqrt() * x + (1 - keep).sqrt() * noise


def training_step(model, batch):
    (x,) = batch
    t = torch.rand(len(x)) * 0.98 + 0.01
    noise = torch.randn_like(x)
    return F.mse_loss(model(add_noise(x, t), t), noise)


def make_optimizer(params):
    return torch.optim.Adam(params, lr=3e-3)
