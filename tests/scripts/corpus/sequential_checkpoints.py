"""A deep net in segments that are computed again in the backward (checkpoint_sequential), and an auxiliary loss with a backward of its own."""
import hashlib

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

torch.manual_seed(25)
stem, blocks, head = nn.Linear(4, 8), nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1), nn.ReLU()) for _ in range(4))), nn.Linear(8, 1)
params = [*stem.parameters(), *blocks.parameters(), *head.parameters()]
opt = torch.optim.SGD(params, lr=0.05)
for i in range(4):
    x = torch.randn(10, 4)
    h = stem(x)
    h = checkpoint_sequential(blocks, 2, h, use_reentrant=False)
    out = checkpoint(head, h, use_reentrant=False)
    main_loss = (out - x[:, :1]).pow(2).mean()
    aux_loss = 0.1 * h.pow(2).mean()
    opt.zero_grad()
    main_loss.backward(retain_graph=True)
    aux_loss.backward()
    opt.step()
    print(i, round(main_loss.item(), 6), round(aux_loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in params)).hexdigest())
