"""A runner whose own attributes are the model and the optimizer; the loss is an attribute too."""
import hashlib
import types

import torch
from torch import nn



class Runner:
    def __init__(self):
        self.net = nn.Linear(3, 2)
        self.opt = torch.optim.SGD(self.net.parameters(), lr=0.3)

    def step(self, x):
        self.opt.zero_grad()
        loss = self.net(x).logsumexp(1).mean()
        loss.backward()
        self.opt.step()
        return loss.item()


torch.manual_seed(2)
runner = Runner()
state = types.SimpleNamespace(losses=[])
for _ in range(8):
    state.losses.append(runner.step(torch.randn(10, 3)))
print(["%.4f" % v for v in state.losses])
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in runner.net.parameters())).hexdigest())
