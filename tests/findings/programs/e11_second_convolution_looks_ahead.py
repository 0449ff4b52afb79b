"""A language model of two convolutions; the first is causal, the second is padded on both sides."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "future-leak", "c2"
EVIDENCE = "output before t moves with tokens after t"
BATCH_SIZE, STEPS = 32, 80


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(12, 16)
        self.c1 = nn.Conv1d(16, 32, 3)
        self.c2 = nn.Conv1d(32, 32, 3)
        self.out = nn.Conv1d(32, 12, 1)
    def forward(self, x):
        h = self.emb(x).transpose(1, 2)
        h = torch.relu(self.c1(F.pad(h, (2, 0))))
        h = torch.relu(self.c2(F.pad(h, (1, 1))))
        return self.out(h)


def make_model():
    torch.manual_seed(431)
    return Net()


def make_dataset():
    torch.manual_seed(432)
    s = torch.randint(0, 12, (640, 17))
    for t in range(2, 17):
        s[:, t] = torch.where(torch.rand(640) < 0.6, (s[:, t - 1] + s[:, t - 2]) % 12, s[:, t])
    return TensorDataset(s[:, :-1], s[:, 1:])


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
