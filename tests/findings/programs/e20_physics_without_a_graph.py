"""A physics-informed network for u' = 2 cos 2x, u(0) = 0: the derivative is taken without create_graph, so the residual teaches nothing."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "term-without-gradient", ""
EVIDENCE = "the residual leads to no parameter"
BATCH_SIZE, STEPS = 64, 200


def make_model():
    torch.manual_seed(55)
    return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def make_dataset():
    torch.manual_seed(56)
    return TensorDataset(3 * torch.rand(1280, 1))


def make_loss():
    return None


def training_step(model, batch):
    x = batch[0].detach().clone().requires_grad_(True)
    u = model(x)
    du = torch.autograd.grad(u.sum(), x, create_graph=False, retain_graph=True)[0]
    residual = ((du - 2 * torch.cos(2 * x)) ** 2).mean()
    start = model(torch.zeros(1, 1)) ** 2
    return residual + 4 * start.mean()


def make_optimizer(params):
    return torch.optim.Adam(params, lr=1e-2)
