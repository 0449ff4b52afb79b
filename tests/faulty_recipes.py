"""Recipe files with a fault, for tests of several doors: Session, the terminal and the window."""

NAN_IN_THE_STEP = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    m = nn.Linear(2, 1).half()
    x = torch.randn(8, 2).half()
    x[:, 1] = 0
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    loss = lambda p, y: (p - y).float().square().mean()
    return Recipe(model=m, dataset=data, loss=loss, optimizer=torch.optim.Adam(m.parameters(), 0.01))
"""
"""Adam in half precision: the update of a weight without a gradient is 0 / 0."""

INPLACE_BEFORE_BACKWARD = """
import torch
from torch import nn
from gradscope import Recipe


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.out = nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x):
        y = self.inside(x).sigmoid()
        y += 1
        return self.out(y)


def recipe():
    model, x = Net(), torch.randn(8, 3)
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), 0.1))
"""
"""Line 14 changes in place what the backward of line 13 needs."""
