"""Fine-tuning: a frozen backbone in evaluation mode (its batch norm too), a head that is trained; the backbone's output is detached."""
import hashlib

import torch
from torch import nn

#: T.run(batches="own random")
torch.manual_seed(19)
backbone = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
backbone.requires_grad_(False).eval()
head = nn.Linear(24, 2)
#: T.trains("head", head)
opt = torch.optim.Rprop(head.parameters(), lr=0.01)
for i in range(12):
    img = torch.rand(16, 1, 9, 9)
    cls = (img.mean((1, 2, 3)) > 0.5).long()
    # Gradients are on: it is its parameters that need none.
    features = backbone(img)
    #: T.call("backbone")
    loss = nn.functional.cross_entropy(head(features), cls)
    #: T.call("head")
    opt.zero_grad()
    #: T.zero_grad()
    #: T.backward(loss, "loss")
    loss.backward()
    opt.step()
    #: T.step("opt")
print(loss.item())
print("FINAL", hashlib.sha256(head.weight.detach().numpy().tobytes() + head.bias.detach().numpy().tobytes()).hexdigest())
