"""MAML: in the inner loop gradients of gradients by torch.autograd.grad, on parameters that functional_call puts in; one outer step."""
import hashlib

import torch
from torch import nn
from torch.func import functional_call

#: T.run(batches="own random")
torch.manual_seed(3)
net = nn.Sequential(nn.Linear(1, 20), nn.ReLU(), nn.Linear(20, 1))
meta_opt = torch.optim.Adam(net.parameters(), lr=1e-2)
loss_fn = nn.MSELoss()
#: T.trains("net", net)


def sample_task():
    a, b = 1 + torch.rand(()), 3 * torch.rand(())
    x = torch.rand(20, 1) * 6 - 3
    y = a * torch.sin(x + b)
    return x[:10], y[:10], x[10:], y[10:]


def adapt(params, x, y, inner_steps=2, inner_lr=0.05):
    for _ in range(inner_steps):
        inner_loss = loss_fn(functional_call(net, params, (x,)), y)
        #: T.call("net")
        grads = torch.autograd.grad(inner_loss, tuple(params.values()), create_graph=True)
        params = {name: p - inner_lr * g for (name, p), g in zip(params.items(), grads)}
    return params


for iteration in range(4):
    meta_opt.zero_grad()
    #: T.zero_grad()
    outer = 0.0
    for _ in range(2):
        xs, ys, xq, yq = sample_task()
        fast = adapt(dict(net.named_parameters()), xs, ys)
        outer = outer + loss_fn(functional_call(net, fast, (xq,)), yq)
        #: T.call("net")
    meta_loss = outer / 2
    #: T.backward(meta_loss, "meta_loss")
    meta_loss.backward()
    meta_opt.step()
    #: T.step("meta_opt")
    print(f"{iteration}: {meta_loss.item():.6f}")
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest())
