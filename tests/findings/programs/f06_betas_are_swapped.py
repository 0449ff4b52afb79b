"""Adam with its two betas swapped: (0.999, 0.9)."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "momentum-too-high", ""
EVIDENCE = "a gradient goes on for 1,000 steps, and a run with 0.9"
BATCH_SIZE, STEPS = 32, 100
SHUFFLE = True

class Forecast(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(1, 24, batch_first=True)
        self.out = nn.Linear(24, 1)
    def forward(self, x):
        return self.out(self.gru(x)[0][:, -1])[:, 0]


def data(n):
    a, f = 6.28 * torch.rand(n, 1), 0.3 + 0.5 * torch.rand(n, 1)
    s = torch.sin(a + f * torch.arange(21))
    return s[:, :20, None], s[:, 20]


def make_model():
    torch.manual_seed(745)
    return Forecast()


def make_dataset():
    torch.manual_seed(746)
    return TensorDataset(*data(1280))


def make_loss():
    return nn.MSELoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.01, betas=(0.999, 0.9))
