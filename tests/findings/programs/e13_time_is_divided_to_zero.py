"""A surrogate of the heat equation gets the start profile and a time; the time goes in as `t // T` (whole numbers) and is always 0."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "constant-input", "time"
EVIDENCE = "`time` gets 0 for all samples"
BATCH_SIZE, STEPS = 64, 150
T = 40


class Heat(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Linear(1, 32)
        self.inp = nn.Linear(16, 32)
        self.out = nn.Linear(32, 16)
    def forward(self, u, t):
        gate = torch.tanh(self.time((t // T).float()[:, None]))
        return self.out(self.inp(u) * (1 + gate))


def profiles(n):
    k = torch.arange(1, 4)
    a = torch.randn(n, 3)
    wave = torch.sin(torch.arange(16)[:, None] / 16 * 3.1416 * k)
    t = torch.randint(0, T, (n,))
    return a @ wave.T, t, (a * torch.exp(-0.7 * k ** 2 * t[:, None] / T)) @ wave.T


def make_model():
    torch.manual_seed(7)
    return Heat()


def make_dataset():
    torch.manual_seed(8)
    return TensorDataset(*profiles(1280))


def make_loss():
    return None


def training_step(model, batch):
    u, t, y = batch
    out = model(u, t)
    return F.mse_loss(out, y), out


def make_optimizer(params):
    return torch.optim.Adam(params, lr=4e-2)
