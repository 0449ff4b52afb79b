"""A VAE whose code is drawn by Normal.sample instead of rsample: reconstruction does not reach the encoder."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "gradient-cut", "enc"
EVIDENCE = "draws without a gradient, given to the decoder"
BATCH_SIZE, STEPS = 32, 100
SHUFFLE = True

class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 8))
        self.dec = nn.Sequential(nn.Linear(4, 48), nn.ReLU(), nn.Linear(48, 20))
    def forward(self, x):
        mu, logvar = self.enc(x).chunk(2, 1)
        z = torch.distributions.Normal(mu, (logvar / 2).exp()).sample()
        return self.dec(z), mu, logvar


def make_model():
    torch.manual_seed(705)
    return VAE()


def data(n):
    return torch.tanh(torch.randn(n, 3) @ torch.randn(3, 20, generator=torch.Generator().manual_seed(5))) + 0.02 * torch.randn(n, 20)


def make_dataset():
    torch.manual_seed(706)
    return TensorDataset(data(1280))


def make_loss():
    return None


def training_step(model, batch):
    (x,) = batch
    out, mu, logvar = model(x)
    recon = (out - x).pow(2).sum(1).mean()
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), 1).mean()
    return recon + 0.05 * kl


def make_optimizer(params):
    return torch.optim.Adam(params, lr=3e-3)
