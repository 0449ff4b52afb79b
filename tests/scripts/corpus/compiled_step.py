"""A loss function compiled by torch.compile (backend eager) that calls a plain model inside, and a compiled optimizer step."""
import hashlib

import torch
from torch import nn

torch.manual_seed(30)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


@torch.compile(backend="eager")
def compute_loss(x, y):
    return nn.functional.cross_entropy(model(x), y)


for i in range(4):
    x = torch.randn(16, 4)
    optimizer.zero_grad()
    loss = compute_loss(x, (x[:, 0] > 0).long())
    loss.backward()
    optimizer.step()
    print(i, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
