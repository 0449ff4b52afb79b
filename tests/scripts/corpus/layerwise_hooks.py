"""Each parameter has an optimizer of its own, stepped and cleared as soon as its gradient has been added; schedulers beside."""
import hashlib

import torch
from torch import nn

torch.manual_seed(13)
model = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 2))
optimizer_dict, scheduler_dict = {}, {}
for p in model.parameters():
    optimizer_dict[p] = torch.optim.AdamW([p], lr=0.01)


def optimizer_hook(p):
    optimizer_dict[p].step()
    optimizer_dict[p].zero_grad()


for p in model.parameters():
    p.register_post_accumulate_grad_hook(optimizer_hook)
for it in range(4):
    x = torch.randn(16, 4)
    out = model(x)
    loss = nn.functional.cross_entropy(out, (x[:, 0] > 0).long())
    loss.backward()
    print(it, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
