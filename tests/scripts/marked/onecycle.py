"""OneCycleLR after each batch, and a second optimizer with a warm-up in front of a cosine (SequentialLR)."""
import hashlib

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, OneCycleLR, SequentialLR
from torch.utils.data import DataLoader, TensorDataset

#: T.run(argv=["--schedule", "onecycle"], name="cycle", batches="DataLoader")
#: T.run(argv=["--schedule", "warmup"], name="warmup", batches="DataLoader")
#: T.run(argv=["--schedule", "own"], name="lambda", batches="DataLoader")
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--schedule", choices=["onecycle", "warmup", "own"], required=True)
schedule = parser.parse_args().schedule
torch.manual_seed(4)
x = torch.rand(160, 3)
loader = DataLoader(TensorDataset(x, x.max(1).values.unsqueeze(1)), batch_size=20, shuffle=True)
net = nn.Sequential(nn.Linear(3, 16), nn.Softplus(), nn.Linear(16, 1))
#: T.trains("net", net)
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
epochs = 2
if schedule == "onecycle":
    scheduler = OneCycleLR(optimizer, max_lr=0.05, steps_per_epoch=len(loader), epochs=epochs)
elif schedule == "warmup":
    warmup = LinearLR(optimizer, start_factor=0.1, total_iters=4)
    scheduler = SequentialLR(optimizer, [warmup, CosineAnnealingLR(optimizer, T_max=12)], milestones=[4])
else:
    scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
rates = []
for epoch in range(epochs):
    for a, b in loader:
        #: T.batch()
        loss = nn.functional.mse_loss(net(a), b)
        #: T.call("net")
        #: T.backward(loss, "loss")
        loss.backward()
        optimizer.step()
        #: T.step("optimizer")
        scheduler.step()
        #: T.schedule()
        optimizer.zero_grad()
        #: T.zero_grad()
        rates.append(optimizer.param_groups[0]["lr"])
print(*(f"{rate:.3e}" for rate in rates))
print(sorted(scheduler.state_dict()))
h = hashlib.sha256()
for p in net.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
