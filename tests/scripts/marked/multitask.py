"""Several tasks: models and losses in dicts, one optimizer over all of them, and one for the weights of the losses."""
import hashlib
import itertools

import torch
from torch import nn

#: T.run(batches="own indexing")
torch.manual_seed(88)
x = torch.randn(256, 12)
targets = {"cls": (x[:, 0] > x[:, 1]).long(), "reg": x[:, 2:4].sum(1, keepdim=True), "rec": x}
nets = {
    "encoder": nn.Sequential(nn.Linear(12, 24), nn.ReLU()),
    "cls": nn.Linear(24, 2),
    "reg": nn.Linear(24, 1),
    "rec": nn.Linear(24, 12),
}
log_sigma = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in targets})
criteria = {"cls": nn.CrossEntropyLoss(), "reg": nn.SmoothL1Loss(), "rec": nn.MSELoss()}
optimizers = {
    "nets": torch.optim.Adam(itertools.chain(*(n.parameters() for n in nets.values())), lr=3e-3),
    "weights": torch.optim.SGD(log_sigma.parameters(), lr=1e-2),
}
#: T.trained(*(f"nets['{k}'].{n}" for k, m in nets.items() for n, _ in m.named_parameters()))
#: T.trained(*(f"log_sigma.{n}" for n in targets))
for it in range(10):
    rows = torch.randperm(256)[:48]
    for name in optimizers:
        optimizers[name].zero_grad()
        #: T.zero_grad()
    hidden = nets["encoder"](x[rows])
    #: T.call("nets['encoder']")
    losses = {}
    for task in targets:
        losses[task] = criteria[task](nets[task](hidden), targets[task][rows])
        #: T.call(f"nets['{task}']")
    total = sum(torch.exp(-log_sigma[k]) * v + log_sigma[k] for k, v in losses.items())
    #: T.backward(total, "total")
    total.backward()
    optimizers["nets"].step()
    #: T.step("optimizers['nets']")
    optimizers["weights"].step()
    #: T.step("optimizers['weights']")
    if it % 4 == 0:
        print(it, *(f"{k} {v.item():.4f}" for k, v in losses.items()))
h = hashlib.sha256()
for p in [*(p for n in nets.values() for p in n.parameters()), *log_sigma.parameters()]:
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
