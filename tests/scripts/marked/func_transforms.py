"""Training by torch.func: grad_and_value of a pure function, per-sample gradients by vmap, new parameters each step."""
import hashlib

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

#: T.run(batches="own random")
torch.manual_seed(7)
net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))
params = {k: v.detach() for k, v in net.named_parameters()}
#: T.trained(*(f"params[{name!r}]" for name in params))


def loss_of(params, x, y):
    return (functional_call(net, params, (x,)) - y).pow(2).mean()


for step in range(4):
    x = torch.randn(12, 3)
    y = x.sum(1, keepdim=True)
    if step % 2:
        per_sample, losses = vmap(grad_and_value(loss_of), in_dims=(None, 0, 0))(params, x, y)
        grads, loss = {k: g.mean(0) for k, g in per_sample.items()}, losses.mean()
        #: T.call("net") if step == 1 else None
    else:
        grads, loss = grad_and_value(loss_of)(params, x, y)
        #: T.call("net")
        #: T.backward(loss, "loss_of()")
    params = {k: p - 0.1 * grads[k] for k, p in params.items()}
    #: None if step % 2 else T.step("(by hand)")
    print(step, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.numpy().tobytes() for p in params.values())).hexdigest())
