"""Early stopping that leaves by sys.exit(3), from inside a class; or, with a word, by a message (exit code 1)."""
import hashlib
import sys

import torch
from torch import nn



class EarlyStopping:
    def __init__(self, patience=2, min_delta=1e-2):
        self.patience, self.min_delta, self.best, self.bad = patience, min_delta, float("inf"), 0

    def __call__(self, value, model):
        if value < self.best - self.min_delta:
            self.best, self.bad = value, 0
            return
        self.bad += 1
        if self.bad > self.patience:
            print(f"stopped at {value:.5f}, best {self.best:.5f}")
            print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
            sys.exit("no progress any more" if "--say" in sys.argv else 3)


torch.manual_seed(12)
X, Y = torch.randn(90, 5), torch.randn(90, 1)
Xv, Yv = X[60:], Y[60:]
X, Y = X[:60], Y[:60]
model = nn.Linear(5, 1)
optimizer = torch.optim.ASGD(model.parameters(), lr=0.1)
stop = EarlyStopping()
for epoch in range(1000):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(X), Y)
    loss.backward()
    optimizer.step()
    with torch.inference_mode():
        val = nn.functional.mse_loss(model(Xv), Yv).item()
    stop(val, model)
