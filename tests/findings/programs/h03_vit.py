"""A small vision transformer with a layer norm and a group norm of one group."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "", ""
EVIDENCE = ""
BATCH_SIZE, STEPS = 32, 80


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(1, 24, 4, stride=4)
        self.pos = nn.Parameter(0.02 * torch.randn(1, 16, 24))
        self.block = nn.TransformerEncoderLayer(24, 4, 48, dropout=0.0, batch_first=True, norm_first=True)
        self.norm = nn.GroupNorm(1, 24)
        self.head = nn.Linear(24, 3)
    def forward(self, x):
        h = self.patch(x).flatten(2).transpose(1, 2) + self.pos
        return self.head(self.norm(self.block(h).mean(1)))


def make_model():
    torch.manual_seed(515)
    return Net()


def make_dataset():
    torch.manual_seed(516)
    y = torch.randint(0, 3, (480,))
    x = 0.4 * torch.randn(480, 1, 16, 16)
    for i, c in enumerate(y.tolist()):
        x[i, 0, 4 * c:4 * c + 6] += 0.8
    return TensorDataset(x, y)


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
