"""A layer that raises at step 5: the script dies with a traceback."""
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls > 5:
            x = x[:, : self.dim - 1]
        return x @ torch.eye(self.dim)


def train_one(model, optimizer, x):
    optimizer.zero_grad()
    #: T.zero_grad()
    loss = model(x).pow(2).mean()
    #: T.call("model")
    #: T.backward(loss, "loss")
    loss.backward()
    optimizer.step()
    #: T.step("optimizer")
    return loss.item()


#: T.run(exit_code=1, batches="own random")
torch.manual_seed(1)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), Attention(8), nn.Linear(8, 1))
#: T.trains("model", model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(20):
    print(step, train_one(model, optimizer, torch.randn(10, 6)), flush=True)
