"""L-BFGS: the closure is evaluated several times in one step."""
import hashlib

import torch

torch.manual_seed(5)
t = torch.linspace(0, 3, 80).unsqueeze(1)
target = torch.exp(-t) * torch.cos(4 * t)
net = torch.nn.Sequential(torch.nn.Linear(1, 12), torch.nn.Tanh(), torch.nn.Linear(12, 1)).double()
t, target = t.double(), target.double()
mse = torch.nn.MSELoss()
lbfgs = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=4, history_size=6, line_search_fn="strong_wolfe")


def closure():
    lbfgs.zero_grad()
    prediction = net(t)
    loss = mse(prediction, target)
    loss.backward()
    return loss


for i in range(6):
    before = lbfgs.step(closure)
    print(i, f"{before.item():.8f}")
with torch.no_grad():
    print("final loss", f"{mse(net(t), target).item():.6f}")
h = hashlib.sha256()
for p in net.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
