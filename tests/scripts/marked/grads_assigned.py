"""Gradients by torch.autograd.grad, put into .grad, clipped, and stepped with an optimizer; no backward anywhere."""
import hashlib

import torch
import torch.nn as nn

#: T.run(batches="own indexing")
torch.manual_seed(4)
X = torch.randn(60, 5)
Y = X @ torch.randn(5, 2)
model = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 2))
params = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
#: T.trains("model", model)
for step in range(6):
    x, y = X[step * 10 : step * 10 + 10], Y[step * 10 : step * 10 + 10]
    pred = model(x)
    #: T.call("model")
    loss = (pred - y).pow(2).mean()
    #: T.backward(loss, "loss")
    grads = torch.autograd.grad(loss, params)
    for p, g in zip(params, grads):
        p.grad = g
    torch.nn.utils.clip_grad_norm_(params, 0.5)
    #: T.clip()
    optimizer.step()
    #: T.step("optimizer")
    scheduler.step()
    #: T.schedule()
    print(step, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in params)).hexdigest())
