"""How loud is a clip? Each of them is divided by its own spread first."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "size-invisible", ""
EVIDENCE = "the output stays where a clip is made louder"
BATCH_SIZE, STEPS = 32, 100
SHUFFLE = True


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 16, 9, stride=4)
        self.fc = nn.Linear(16, 32)
        self.out = nn.Linear(32, 1)
    def forward(self, x):
        x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
        return self.out(torch.relu(self.fc(torch.relu(self.conv(x)).mean(-1))))


def make_model():
    torch.manual_seed(617)
    return Net()


def make_dataset():
    torch.manual_seed(618)
    loudness = 3 * torch.rand(600, 1) + 0.2
    t, pitch, phase = torch.arange(96.0), 0.3 + torch.rand(600, 1), 6 * torch.rand(600, 1)
    x = loudness * torch.sin(pitch * t + phase)
    return TensorDataset(x[:, None], loudness - 1.7)


def make_loss():
    return nn.MSELoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.005)
