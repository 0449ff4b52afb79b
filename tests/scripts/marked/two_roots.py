"""torch.autograd.backward of two losses at once, bound under another name, and clipping by value imported by name."""
import hashlib

import torch
from torch import nn
from torch.autograd import backward as run_backward
from torch.nn.utils import clip_grad_value_ as clip

#: T.run(batches="own random")
torch.manual_seed(23)
f, g = nn.Linear(5, 5), nn.Linear(5, 1)
params = list(f.parameters()) + list(g.parameters())
opt = torch.optim.SGD(params, lr=0.1)
#: T.trains("f", f)
#: T.trains("g", g)
for k in range(9):
    x = torch.randn(30, 5)
    hidden = f(x).tanh()
    #: T.call("f")
    fit = (g(hidden) - x.sum(1, keepdim=True)).pow(2).mean()
    #: T.call("g")
    sparsity = hidden.abs().mean()
    opt.zero_grad()
    #: T.zero_grad()
    #: T.backward([fit, sparsity], None)
    run_backward([fit, sparsity], [torch.tensor(1.0), torch.tensor(0.1)])
    clip(params, 0.2)
    #: T.clip()
    opt.step()
    #: T.step("opt")
print(fit.item(), sparsity.item())
h = hashlib.sha256()
for p in params:
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
