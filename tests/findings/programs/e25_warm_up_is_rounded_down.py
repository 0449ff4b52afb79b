"""Patterns in small images: the factor of the warm-up is divided by //, so it is 0 up to its end."""
import torch
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "lr-too-low", ""
EVIDENCE = "a rate of 0 in all steps"
BATCH_SIZE, STEPS = 32, 80
SHUFFLE = True


def make_model():
    torch.manual_seed(609)
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(1024, 4))


def make_dataset():
    torch.manual_seed(610)
    x = torch.randn(640, 3, 8, 8)
    return TensorDataset(x, torch.einsum("nchw,kchw->nk", x, torch.randn(4, 3, 8, 8)).argmax(1))


def make_loss():
    return nn.CrossEntropyLoss()


def make_optimizer(params):
    return torch.optim.AdamW(params, lr=0.003)


def make_scheduler(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: min(1, (t + 1) // 400))
