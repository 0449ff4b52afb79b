"""Warnings of torch's, and a script's own, in a loop that moves its weights by hand: each is said of the line that caused it."""
import hashlib
import warnings

import torch

#: T.run(batches="own random")
torch.manual_seed(8)
w = torch.zeros(3, requires_grad=True)
#: T.trained("w")
for i in range(5):
    x = torch.randn(12, 3)
    loss = (x @ w - x.sum(1)).pow(2).mean()
    #: T.call()
    #: T.backward(loss, "loss")
    loss.backward()
    w.data -= 0.1 * w.grad
    #: T.step("(by hand)")
    w.grad.zero_()
    #: T.zero_grad()
    float(loss)
    if i == 2:
        torch.tensor(x)
        warnings.warn("half of it")
print(f"{loss.item():.5f}")
print("FINAL", hashlib.sha256(w.detach().numpy().tobytes()).hexdigest())
