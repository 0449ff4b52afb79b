"""Healthy: an input layer for the width, blocks that begin with a linear layer, an energy that takes many steps."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

BATCH_SIZE, STEPS = 32, 60
SHUFFLE = True


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
    def forward(self, h):
        return torch.relu(self.norm(self.fc(h)))


def make_model():
    torch.manual_seed(611)
    return nn.Sequential(nn.Linear(6, 48), Block(48), Block(48), nn.Linear(48, 1))


def make_dataset():
    torch.manual_seed(612)
    x = torch.randn(640, 6)
    return TensorDataset(x, torch.sin(2 * x[:, :1]) * x[:, 1:2] + (x[:, 2:3] * x[:, 3:4]).abs() - 0.6)


def make_loss():
    return nn.MSELoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.001)
