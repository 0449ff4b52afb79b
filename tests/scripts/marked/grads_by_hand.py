"""Gradients by torch.autograd.grad, and parameters that are moved by hand with them: .grad is never filled."""
import hashlib

import torch
from torch import nn

#: T.run(batches="own indexing")
torch.manual_seed(5)
X = torch.randn(64, 4)
Y = (X[:, :1] > 0).float()
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
lr = 0.2
#: T.trains("model", model)
for it in range(5):
    logits = model(X)
    #: T.call("model")
    loss = nn.functional.binary_cross_entropy_with_logits(logits, Y)
    #: T.backward(loss, "loss")
    grads = torch.autograd.grad(loss, list(model.parameters()))
    with torch.no_grad():
        for p, g in zip(model.parameters(), grads):
            p -= lr * g
    #: T.step("(by hand)")
    print(it, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
