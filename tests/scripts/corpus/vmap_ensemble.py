"""An ensemble as stacked parameters: the model runs inside of vmap, and one optimizer holds the stacks."""
import copy
import hashlib

import torch
from torch import nn
from torch.func import functional_call, stack_module_state

torch.manual_seed(8)
models = [nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(3)]
params, buffers = stack_module_state(models)
base = copy.deepcopy(models[0]).to("meta")
optimizer = torch.optim.SGD(list(params.values()), lr=0.05)


def one(p, b, x):
    return functional_call(base, (p, b), (x,))


for i in range(4):
    x = torch.randn(10, 3)
    y = x.prod(1, keepdim=True)
    optimizer.zero_grad()
    out = torch.vmap(one, in_dims=(0, 0, None))(params, buffers, x)
    loss = ((out - y) ** 2).mean(dim=(1, 2)).sum()
    loss.backward()
    optimizer.step()
    print(i, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in params.values())).hexdigest())
