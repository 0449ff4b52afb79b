"""An optimizer of one's own (Lion), a subclass of torch.optim.Optimizer, with two parameter groups."""
import hashlib
from typing import Callable, Iterable, Optional

import torch
from torch import nn
from torch.optim.optimizer import Optimizer


class Lion(Optimizer):
    def __init__(self, params: Iterable, lr: float = 1e-4, betas=(0.9, 0.99), weight_decay: float = 0.0):
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure: Optional[Callable] = None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in filter(lambda p: p.grad is not None, group["params"]):
                state = self.state[p]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p)
                exp_avg, (beta1, beta2) = state["exp_avg"], group["betas"]
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                update = exp_avg.clone().mul_(beta1).add(p.grad, alpha=1 - beta1).sign_()
                p.add_(update, alpha=-group["lr"])
                exp_avg.mul_(beta2).add_(p.grad, alpha=1 - beta2)
        return loss


def main():
    torch.manual_seed(77)
    x = torch.rand(300, 6) * 2 - 1
    y = (x**2).sum(1, keepdim=True).sqrt()
    mlp = nn.Sequential(nn.Linear(6, 40), nn.ELU(), nn.Linear(40, 40), nn.ELU(), nn.Linear(40, 1))
    decay = [p for p in mlp.parameters() if p.ndim > 1]
    rest = [p for p in mlp.parameters() if p.ndim <= 1]
    lion = Lion([{"params": decay, "weight_decay": 1e-2}, {"params": rest}], lr=1e-3)
    for epoch in range(3):
        for chunk in torch.randperm(300).split(60):
            lion.zero_grad()
            l1 = nn.functional.l1_loss(mlp(x[chunk]), y[chunk])
            l1.backward()
            lion.step()
        print(f"{epoch=} {l1.item():.5f}")
    print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in mlp.parameters())).hexdigest())


main()
