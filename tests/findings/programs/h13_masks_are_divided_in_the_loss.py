"""Segmentation: the masks come as 0 and 255, and the loss divides them."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE, EVIDENCE = "", "", ""
BATCH_SIZE, STEPS = 32, 100
SHUFFLE = True

def data(n):
    x = torch.randn(n, 1, 16, 16)
    x = F.avg_pool2d(x, 5, 1, 2) * 3
    return x + 0.2 * torch.randn_like(x), (x > 0.5).float() * 255


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.mask = nn.Conv2d(16, 1, 1)
    def forward(self, x):
        return self.mask(self.down(x))


class Loss(nn.Module):
    def forward(self, out, y):
        return F.binary_cross_entropy_with_logits(out, y / 255)


def make_model():
    torch.manual_seed(737)
    return Net()


def make_dataset():
    torch.manual_seed(738)
    return TensorDataset(*data(640))


def make_loss():
    return Loss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=3e-3)
