"""torch.func with an optimizer: what grad, vjp and a gradient of a gradient give is put into .grad, and Adam steps."""
import hashlib

import torch
from torch import nn
from torch.func import functional_call, grad, grad_and_value, vjp

torch.manual_seed(9)
net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
params = dict(net.named_parameters())


def loss_of(params, x, y):
    return (functional_call(net, params, (x,)) - y).pow(2).mean()


def meta(params, x, y):
    inner = grad(loss_of)(params, x, y)
    return loss_of({k: p - 0.1 * inner[k] for k, p in params.items()}, x, y)


for step in range(8):
    x = torch.randn(12, 3)
    y = x.sum(1, keepdim=True)
    if step < 4:
        grads, loss = grad_and_value(loss_of)(params, x, y)
    elif step < 6:
        loss, pull = vjp(lambda params: loss_of(params, x, y), params)
        (grads,) = pull(torch.ones_like(loss))
    else:
        grads, loss = grad_and_value(meta)(params, x, y)
    for name, p in params.items():
        p.grad = grads[name].detach()
    optimizer.step()
    print(step, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest())
