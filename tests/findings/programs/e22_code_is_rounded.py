"""An autoencoder with a code of bits: rounded, and no gradient passes."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "not-reached", "encoder"
EVIDENCE = "round, whose derivative is 0"
BATCH_SIZE, STEPS = 32, 80
SHUFFLE = True


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 48), nn.ReLU(), nn.Linear(48, 12))
        self.decoder = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 20))
    def forward(self, x):
        p = torch.sigmoid(self.encoder(x))
        code = p.round()
        return self.decoder(code)


def make_model():
    torch.manual_seed(603)
    return Net()


def make_dataset():
    torch.manual_seed(604)
    bits = torch.randint(0, 2, (960, 6)).float()
    x = bits @ torch.randn(6, 20) + 0.1 * torch.randn(960, 20)
    return TensorDataset(x, x.clone())


def make_loss():
    return nn.MSELoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.01)
