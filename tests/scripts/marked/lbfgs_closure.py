"""L-BFGS: the closure is evaluated several times in one step."""
import hashlib

import torch

#: T.run(batches="the whole data")
torch.manual_seed(5)
t = torch.linspace(0, 3, 80).unsqueeze(1)
target = torch.exp(-t) * torch.cos(4 * t)
net = torch.nn.Sequential(torch.nn.Linear(1, 12), torch.nn.Tanh(), torch.nn.Linear(12, 1)).double()
t, target = t.double(), target.double()
mse = torch.nn.MSELoss()
lbfgs = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=4, history_size=6, line_search_fn="strong_wolfe")
#: T.trains("net", net)


def closure():
    lbfgs.zero_grad()
    #: T.zero_grad()
    prediction = net(t)
    #: T.call("net")
    loss = mse(prediction, target)
    #: T.backward(loss, "loss")
    loss.backward()
    return loss


for i in range(6):
    before = lbfgs.step(closure)
    #: T.step("lbfgs")
    print(i, f"{before.item():.8f}")
with torch.no_grad():
    print("final loss", f"{mse(net(t), target).item():.6f}")
    #: T.evaluate()
h = hashlib.sha256()
for p in net.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
