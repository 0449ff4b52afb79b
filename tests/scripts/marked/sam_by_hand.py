"""Sharpness-aware steps without an optimizer of their own: climb, a second forward and backward, back down, then the step."""
import hashlib

import torch
import torch.nn as nn
import torch.nn.functional as F

#: T.run(batches="own random")
torch.manual_seed(9)
model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
base_optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
rho = 0.05
#: T.trains("model", model)
for step in range(5):
    inputs, targets = torch.randn(32, 4), torch.randint(0, 3, (32,))
    base_optimizer.zero_grad()
    #: T.zero_grad()
    logits = model(inputs)
    #: T.call("model")
    loss = F.cross_entropy(logits, targets)
    #: T.backward(loss, "loss")
    loss.backward()
    with torch.no_grad():
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        climbs = [p.grad * (rho / (norm + 1e-12)) for p in model.parameters()]
        for p, e in zip(model.parameters(), climbs):
            p.add_(e)
    base_optimizer.zero_grad()
    #: T.zero_grad()
    second = model(inputs)
    #: T.call("model")
    sharp_loss = F.cross_entropy(second, targets)
    #: T.backward(sharp_loss, "sharp_loss")
    sharp_loss.backward()
    with torch.no_grad():
        for p, e in zip(model.parameters(), climbs):
            p.sub_(e)
    base_optimizer.step()
    #: T.step("base_optimizer")
    print(step, round(loss.item(), 6), round(sharp_loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
