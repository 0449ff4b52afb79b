"""Sharpness-aware minimisation: the step climbs, evaluates the closure there, comes back, and lets another optimizer step."""
import hashlib

import torch
import torch.nn as nn
import torch.nn.functional as F


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        norm = torch.stack([p.grad.norm() for g in self.param_groups for p in g["params"] if p.grad is not None]).norm()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                self.state[p]["old_p"] = p.data.clone()
                p.add_(p.grad * group["rho"] / (norm + 1e-12))
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def step(self, closure=None):
        closure = torch.enable_grad()(closure)
        self.first_step(zero_grad=True)
        closure()
        self.second_step()


torch.manual_seed(17)
inputs = torch.randn(256, 9)
labels = (inputs[:, :3].sum(1) > inputs[:, 3:6].sum(1)).long()
model = nn.Sequential(nn.Linear(9, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 2))
optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.05, momentum=0.9)

for step in range(10):
    idx = torch.randint(0, 256, (32,))
    x, y = inputs[idx], labels[idx]

    def closure():
        out = model(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        return loss

    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step(closure)
    optimizer.zero_grad()
    print(step, round(loss.item(), 5))
h = hashlib.sha256()
for p in model.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
