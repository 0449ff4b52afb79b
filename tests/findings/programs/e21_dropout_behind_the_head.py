"""Tones of three pitches: the dropout was put at the end of the head, behind its last layer."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "dropout-on-output", "head.3"
EVIDENCE = "half of the logits are 0"
BATCH_SIZE, STEPS = 32, 80
SHUFFLE = True


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 12, 9, stride=2)
        self.head = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 3), nn.Dropout(0.5))
    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean(-1))


def make_model():
    torch.manual_seed(601)
    return Net()


def make_dataset():
    torch.manual_seed(602)
    y = torch.randint(0, 3, (640,))
    t, pitch = torch.arange(48.0), 0.3 + 0.25 * y
    x = torch.sin(pitch[:, None] * t + 6 * torch.rand(640, 1)) + 0.8 * torch.randn(640, 48)
    return TensorDataset(x[:, None], y)


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=0.01)
