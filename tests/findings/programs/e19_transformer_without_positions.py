"""A transformer encoder over tokens, mean-pooled, no positional information; the label is which token stands first."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "order-invisible", "emb"
EVIDENCE = "a linear method that sees the order is right, the model is not"
BATCH_SIZE, STEPS = 32, 60


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(6, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.head = nn.Linear(32, 6)
    def forward(self, x):
        h = self.emb(x)
        return self.head(self.block(h).mean(1))


def make_model():
    torch.manual_seed(51)
    return Net()


def sequences(n):
    x = torch.randint(0, 6, (n, 8))
    return x, x[:, 0]


def make_dataset():
    torch.manual_seed(52)
    return TensorDataset(*sequences(1280))


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=5e-3)
