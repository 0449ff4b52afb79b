"""Two tasks, two heads: the optimizer has the body and the first head."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "not-in-optimizer", "size"
EVIDENCE = "gradients, and no optimizer"
BATCH_SIZE, STEPS = 32, 80


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.kind = nn.Linear(32, 3)
        self.size = nn.Linear(32, 1)
    def forward(self, x):
        h = self.body(x)
        return self.kind(h), self.size(h)


class Both(nn.Module):
    def forward(self, out, y):
        return F.cross_entropy(out[0], y[:, 0].long()) + 0.5 * F.mse_loss(out[1][:, 0], y[:, 1])


def make_model():
    torch.manual_seed(419)
    return Net()


def make_dataset():
    torch.manual_seed(420)
    x = torch.randn(640, 8)
    return TensorDataset(x, torch.stack([x[:, :3].argmax(1).float(), 3 * x[:, 3] + 2], 1))


def make_loss():
    return Both()


def make_optimizer(params):
    return torch.optim.Adam([p for p in params if p.shape[0] != 1], lr=0.005)
