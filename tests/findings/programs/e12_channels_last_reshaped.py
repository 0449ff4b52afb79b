"""A dense segmentation by linear layers: (B, H, W, C) is reshaped to (B, C, H, W) before the loss."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "layout-mixup", ""
EVIDENCE = "the same memory in another order"
BATCH_SIZE, STEPS = 16, 80


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 4))
    def forward(self, x):
        return self.body(x)


class PerPixel(nn.Module):
    def forward(self, out, y):
        b, h, w, c = out.shape
        return F.cross_entropy(out.reshape(b, c, h, w), y)


def make_model():
    torch.manual_seed(433)
    return Net()


def make_dataset():
    torch.manual_seed(434)
    x = torch.randn(480, 8, 8, 3)
    return TensorDataset(x, (x[..., 0] > 0).long() + 2 * (x[..., 1] > 0).long())


def make_loss():
    return PerPixel()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
