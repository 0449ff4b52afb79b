"""A variational autoencoder with a binary reconstruction and a weighted KL term."""
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
        self.enc = nn.Linear(36, 32)
        self.mu, self.logvar = nn.Linear(32, 4), nn.Linear(32, 4)
        self.dec = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 36))
    def forward(self, x):
        h = torch.relu(self.enc(x))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return self.dec(z), mu, logvar


def training_step(model, batch):
    out, mu, logvar = model(batch[0])
    kl = -0.5 * (1 + logvar - mu ** 2 - logvar.exp()).sum(1).mean()
    return F.binary_cross_entropy_with_logits(out, batch[0], reduction="none").sum(1).mean() + 0.2 * kl


def make_model():
    torch.manual_seed(521)
    return Net()


def make_dataset():
    torch.manual_seed(522)
    c = torch.rand(640, 2) * 5
    g = torch.arange(6.0)
    x = torch.exp(-((g[None, :, None] - c[:, :1, None]) ** 2 + (g[None, None] - c[:, 1:, None]) ** 2) / 2)
    return TensorDataset((x.flatten(1) > 0.4).float())


def make_loss():
    return None


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
