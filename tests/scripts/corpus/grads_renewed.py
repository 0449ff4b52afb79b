"""Bare tensors and torch.autograd.grad: each step makes new tensors of the old ones."""
import hashlib

import torch

torch.manual_seed(33)
w, b = torch.randn(3, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
for step in range(5):
    x = torch.randn(12, 3)
    loss = (x @ w + b - x.sum(1, keepdim=True)).pow(2).mean()
    grad_w, grad_b = torch.autograd.grad(loss, (w, b))
    w = (w - 0.1 * grad_w).detach().requires_grad_()
    b = (b - 0.1 * grad_b).detach().requires_grad_()
    print(step, round(loss.item(), 6))
print("FINAL", hashlib.sha256(w.detach().numpy().tobytes() + b.detach().numpy().tobytes()).hexdigest())
