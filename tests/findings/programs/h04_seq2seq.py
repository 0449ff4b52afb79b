"""A sequence to sequence GRU with teacher forcing: decoder inputs are shifted targets."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "", ""
EVIDENCE = ""
BATCH_SIZE, STEPS = 32, 120


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(10, 16)
        self.enc = nn.GRU(16, 48, batch_first=True)
        self.dec = nn.GRU(16, 48, batch_first=True)
        self.out = nn.Linear(48, 10)
    def forward(self, x):
        source, shifted = x[:, :6], x[:, 6:]
        _, h = self.enc(self.emb(source))
        o, _ = self.dec(self.emb(shifted), h)
        return self.out(o).transpose(1, 2)


def make_model():
    torch.manual_seed(517)
    return Net()


def make_dataset():
    torch.manual_seed(518)
    s = torch.randint(1, 10, (800, 6))
    t = s.flip(1)
    begin = torch.zeros(800, 1, dtype=torch.long)
    return TensorDataset(torch.cat([s, begin, t[:, :-1]], 1), t)


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
