"""Lookahead as it goes around: a subclass of Optimizer that never calls Optimizer.__init__, and wraps another one."""
import hashlib
from collections import defaultdict

import torch
from torch import nn
from torch.optim.optimizer import Optimizer

#: T.run(batches="own random")


class Lookahead(Optimizer):
    def __init__(self, optimizer, k=2, alpha=0.5):
        self.optimizer, self.k, self.alpha = optimizer, k, alpha
        self.param_groups = self.optimizer.param_groups
        self.state = defaultdict(dict)
        self.fast_state = self.optimizer.state
        for group in self.param_groups:
            group["counter"] = 0

    def update(self, group):
        for fast in group["params"]:
            param_state = self.state[fast]
            if "slow_param" not in param_state:
                param_state["slow_param"] = torch.zeros_like(fast.data)
                param_state["slow_param"].copy_(fast.data)
            slow = param_state["slow_param"]
            slow += (fast.data - slow) * self.alpha
            fast.data.copy_(slow)

    def step(self, closure=None):
        loss = self.optimizer.step(closure)
        for group in self.param_groups:
            if group["counter"] == 0:
                self.update(group)
            group["counter"] += 1
            if group["counter"] >= self.k:
                group["counter"] = 0
        return loss

    def zero_grad(self):
        self.optimizer.zero_grad()


torch.manual_seed(11)
net = nn.Sequential(nn.Linear(3, 9), nn.GELU(), nn.Linear(9, 1))
optimizer = Lookahead(torch.optim.Adam(net.parameters(), lr=0.05))
#: T.trains("net", net)
for i in range(6):
    x = torch.randn(20, 3)
    out = net(x)
    #: T.call("net")
    loss = (out - x.norm(dim=1, keepdim=True)).abs().mean()
    optimizer.zero_grad()
    #: T.zero_grad()
    #: T.backward(loss, "loss")
    loss.backward()
    optimizer.step()
    #: T.step("optimizer")
    print(i, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest())
