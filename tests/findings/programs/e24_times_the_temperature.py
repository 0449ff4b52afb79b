"""Two views of the same thing are to find each other: cosines, multiplied by the temperature."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "logits-too-narrow", ""
EVIDENCE = "logits from -0.07 to 0.07"
BATCH_SIZE, STEPS = 64, 80
SHUFFLE = True


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 16))
        self.b = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 16))
    def forward(self, x):
        return F.normalize(self.a(x[:, :12]), dim=-1), F.normalize(self.b(x[:, 12:]), dim=-1)


class Loss(nn.Module):
    def forward(self, out, y):
        logits = out[0] @ out[1].T * 0.07
        own = torch.arange(len(logits))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def make_model():
    torch.manual_seed(607)
    return Net()


def make_dataset():
    torch.manual_seed(608)
    z = torch.randn(960, 6)
    return TensorDataset(torch.cat([z @ torch.randn(6, 12), torch.tanh(z @ torch.randn(6, 10))], 1), torch.zeros(960))


def make_loss():
    return Loss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.003)
