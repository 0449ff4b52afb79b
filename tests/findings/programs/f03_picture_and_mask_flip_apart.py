"""Segmentation with random flips: the picture and its mask are flipped by different coins."""
import torch
from torch import nn
from torch.utils.data import Dataset

FAULT, WHERE = "labels-unrelated", ""
EVIDENCE = "input and target turned differently"
BATCH_SIZE, STEPS = 32, 100
SHUFFLE = True


def flip(x):
    return x.flip(-1) if torch.rand(()) < 0.5 else x


def data(n):
    x = 0.3 * torch.randn(n, 1, 16, 16)
    y = torch.zeros(n, 1, 16, 16)
    for k in range(n):
        r, c = torch.randint(0, 10, (2,)).tolist()
        y[k, 0, r:r + 6, c:c + 5] = 1
    return x + y, y


class Pictures(Dataset):
    def __init__(self):
        self.x, self.y = data(800)
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        x, y = self.x[i], self.y[i]
        return flip(x), flip(y)


def make_model():
    torch.manual_seed(729)
    return nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 1, 1))


def make_dataset():
    torch.manual_seed(730)
    return Pictures()


def make_loss():
    return nn.BCEWithLogitsLoss()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=3e-3)
