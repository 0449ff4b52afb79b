"""Connectionist temporal classification: most frames say blank at first, and for a while the loss stands still."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "", ""
EVIDENCE = ""
BATCH_SIZE, STEPS = 32, 100


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(6, 32, 5, padding=2)
        self.rnn = nn.GRU(32, 24, batch_first=True, bidirectional=True)
        self.out = nn.Linear(48, 6)
    def forward(self, x):
        h, _ = self.rnn(torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))
        return F.log_softmax(self.out(h), -1)


def training_step(model, batch):
    x, y = batch
    logp = model(x).transpose(0, 1)
    return F.ctc_loss(logp, y, torch.full((len(x),), x.shape[1]), torch.full((len(x),), y.shape[1]))


def make_model():
    torch.manual_seed(527)
    return Net()


def make_dataset():
    torch.manual_seed(528)
    y = torch.randint(1, 6, (480, 4))
    x = 0.3 * torch.randn(480, 24, 6)
    for k in range(4):
        x[torch.arange(480), 3 + 6 * k, y[:, k]] += 2.0
    return TensorDataset(x, y)


def make_loss():
    return None


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
