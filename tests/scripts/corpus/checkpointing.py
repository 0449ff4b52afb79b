"""Activation checkpointing: blocks are run again inside the backward. With --reentrant the old kind, a backward in a backward."""
import argparse
import hashlib

import torch
import torch.nn as nn
from torch.utils.checkpoint import checkpoint

parser = argparse.ArgumentParser()
parser.add_argument("--reentrant", action="store_true")
args = parser.parse_args()
torch.manual_seed(61)


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.ff = nn.Sequential(nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Dropout(0.1), nn.Linear(2 * dim, dim))

    def forward(self, x):
        return x + self.ff(self.norm(x))


class Net(nn.Module):
    def __init__(self, dim=16, depth=4):
        super().__init__()
        self.stem = nn.Linear(5, dim)
        self.blocks = nn.ModuleList(Block(dim) for _ in range(depth))
        self.head = nn.Linear(dim, 1)

    def forward(self, x):
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x) if i == 0 else checkpoint(block, x, use_reentrant=args.reentrant)
        return self.head(x)


net = Net()
opt = torch.optim.Adam(net.parameters(), 2e-3)
for i in range(10):
    x = torch.randn(24, 5)
    y = x.prod(1, keepdim=True).tanh()
    loss = (net(x) - y).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(i, f"{loss.item():.6f}")
h = hashlib.sha256()
for p in net.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
