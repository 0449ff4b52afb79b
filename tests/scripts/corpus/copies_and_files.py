"""deepcopy of model and optimizer, and torch.save and pickle of both, in the middle of a step; what is written is hashed."""
import copy
import hashlib
import io
import pickle

import torch
from torch import nn



class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(6, 12)
        self.drop = nn.Dropout(0.2)
        self.b = nn.Linear(12, 1)

    def forward(self, x):
        return self.b(self.drop(torch.relu(self.a(x))))


def digest(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    return hashlib.sha256(file.getvalue()).hexdigest()[:16], len(file.getvalue())


torch.manual_seed(33)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
best, best_loss = None, float("inf")
for i in range(8):
    x = torch.randn(32, 6)
    optimizer.zero_grad()
    loss = (net(x) - x[:, :1]).abs().mean()
    if i == 3:
        print("after forward", *digest(net))
    loss.backward()
    if i == 3:
        print("after backward", *digest(net), *digest(optimizer.state_dict()))
        twin = copy.deepcopy(net)
        print("copies", vars(twin).keys() == vars(net).keys(), digest(twin) == digest(net), len(pickle.dumps(twin)))
    optimizer.step()
    scheduler.step()
    if i == 3:
        print("after step", *digest(net), *digest(optimizer), *digest(scheduler.state_dict()))
        print(*digest(copy.deepcopy(optimizer).state_dict()))
    if loss.item() < best_loss:
        best, best_loss = copy.deepcopy(net.state_dict()), loss.item()
net.load_state_dict(best)
print("at the end", *digest(net), *digest({"model": net.state_dict(), "optimizer": optimizer.state_dict(), "best": best_loss}))
h = hashlib.sha256()
for p in net.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
