"""Five mistakes of order, one at a time. Each trains on all the same."""
import argparse
import hashlib
import warnings

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("mistake")
mistake = parser.parse_args().mistake
warnings.simplefilter("ignore")
torch.manual_seed(6)
model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 1))
spare = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
spare_optimizer = torch.optim.SGD(spare.parameters(), lr=0.05)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=mistake in ("clip-scaled", "no-unscale", "none"))
for i in range(8):
    x = torch.randn(20, 4)
    if mistake == "scheduler-first":
        scheduler.step()
    optimizer.zero_grad()
    loss = (model(x) - x.prod(1, keepdim=True)).abs().mean()
    scaler.scale(loss).backward()
    if mistake == "clip-scaled":
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.unscale_(optimizer)
    elif mistake == "no-unscale":
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    elif mistake == "none":
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    elif mistake == "zero-late" and i % 2:
        optimizer.zero_grad(set_to_none=False)
    scaler.step(optimizer)
    scaler.update()
    if mistake == "no-gradient":
        spare_optimizer.step()
    if mistake != "scheduler-first":
        scheduler.step()
    print(i, f"{loss.item():.6f}")
h = hashlib.sha256()
for p in model.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
