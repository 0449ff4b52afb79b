"""float16 with a GradScaler, on the CPU: unscale, clip, step, update. The first scale is far too large: some steps are skipped."""
import hashlib

import torch
from torch import nn
from torch.amp import GradScaler, autocast

torch.manual_seed(31)
device = "cpu"
model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
scaler = GradScaler(device, init_scale=2.0**20, growth_interval=6)
criterion = nn.CrossEntropyLoss()
x = torch.randn(320, 12)
y = x[:, :4].argmax(1)

for it in range(14):
    xb, yb = x[it * 20 % 300 :][:20], y[it * 20 % 300 :][:20]
    optimizer.zero_grad(set_to_none=True)
    with autocast(device_type=device, dtype=torch.float16):
        logits = model(xb)
        loss = criterion(logits, yb)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    if it % 3 == 0:
        print(f"it {it:2d}  loss {loss.item():.5f}  scale {scaler.get_scale():g}")

sha = hashlib.sha256()
for p in model.parameters():
    sha.update(p.detach().cpu().numpy().tobytes())
print("FINAL", sha.hexdigest())
