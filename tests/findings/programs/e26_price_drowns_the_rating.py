"""A table with two targets, in one squared error: a price in units, and a rating."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "target-not-scaled", ""
EVIDENCE = "one column spreads 500 times as far as the other"
BATCH_SIZE, STEPS = 64, 100
SHUFFLE = True


def make_model():
    torch.manual_seed(615)
    return nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))


def make_dataset():
    torch.manual_seed(616)
    x = torch.randn(768, 6)
    price = 2 * x[:, 0] + x[:, 1].abs() - 0.8
    rating = torch.sin(2 * x[:, 2]) + x[:, 3]
    return TensorDataset(x, torch.stack([300 * price, rating], 1))


def make_loss():
    return nn.MSELoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.01)
