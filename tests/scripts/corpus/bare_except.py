"""Catches whatever is raised, by a bare except, and goes on: a bad batch in the data, a layer that raises, a NaN that is skipped."""
import hashlib

import torch
from torch import nn



class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x):
        x = self.lin(x)
        if (x.detach().abs() > 50).any():
            raise RuntimeError("too large")
        return torch.relu(x)


torch.manual_seed(44)
net = nn.Sequential(nn.Linear(4, 4), Picky(), nn.Linear(4, 1))
optim = torch.optim.Adam(net.parameters(), lr=0.01)
batches = [torch.randn(16, 4) for _ in range(14)]
batches[5] = batches[5] * 1e4
batches[8] = torch.randn(16, 5)
batches[10][0, 0] = float("nan")
failed, skipped = 0, 0
for i, x in enumerate(batches):
    try:
        optim.zero_grad()
        out = net(x)
        loss = (out - x.mean(1, keepdim=True)).square().mean()
        if not torch.isfinite(loss):
            skipped += 1
            continue
        loss.backward()
        optim.step()
    except:
        failed += 1
        print("batch", i, "left out")
print(failed, "failed,", skipped, "skipped, last loss", loss.item())
h = hashlib.sha256()
for p in net.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
