"""Adversarial training: an inner loop of backwards moves a perturbation by hand, then the net is trained on what came of it."""
import hashlib

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(26)
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
opt = torch.optim.SGD(model.parameters(), lr=0.1)


def attack(model, X, y, epsilon=0.1, alpha=0.04, iters=2):
    delta = torch.zeros_like(X, requires_grad=True)
    for _ in range(iters):
        out = model(X + delta)
        adv_loss = F.cross_entropy(out, y)
        adv_loss.backward()
        delta.data = (delta + alpha * delta.grad.detach().sign()).clamp(-epsilon, epsilon)
        delta.grad.zero_()
    return delta.detach()


for step in range(3):
    X = torch.randn(12, 6)
    y = X[:, :3].argmax(1)
    delta = attack(model, X, y)
    yp = model(X + delta)
    loss = F.cross_entropy(yp, y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(step, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
