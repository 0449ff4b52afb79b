"""The dataset adds its jitter in place: each time a sample is fetched, the stored sample itself drifts further away."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, TensorDataset

FAULT, WHERE = "data-changed-by-reading", ""
EVIDENCE = "the distance of a sample from its first reading grows from reading to reading"
BATCH_SIZE, STEPS = 16, 200


class Jittered(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        x = self.x[i]
        x += 0.8 * torch.randn(x.shape)
        return x, self.y[i]


def make_model():
    torch.manual_seed(43)
    return nn.Sequential(nn.Linear(12, 32), nn.GELU(), nn.Linear(32, 3))


def rows(n):
    y = torch.randint(0, 3, (n,))
    x = 0.5 * torch.randn(n, 12)
    x[torch.arange(n), y] += 1.5
    return x, y


def make_dataset():
    torch.manual_seed(44)
    return Jittered(*rows(128))


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=3e-3)
