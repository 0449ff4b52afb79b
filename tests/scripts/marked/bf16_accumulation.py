#!/usr/bin/env python
"""Gradient accumulation over 4 micro-batches with loss / n, in bfloat16; the last window of an epoch is shorter."""
import argparse
import hashlib

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

#: T.run(argv=["--accumulation-steps", "4", "--epochs=2"], batches="DataLoader")
parser = argparse.ArgumentParser()
parser.add_argument("--accumulation-steps", type=int, default=1)
parser.add_argument("--epochs", type=int, default=1)
args = parser.parse_args()


class Conv(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = torch.nn.Conv1d(2, 8, 5, padding=2)
        self.c2 = torch.nn.Conv1d(8, 8, 5, padding=2)
        self.out = torch.nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.c1(x))
        x = F.relu(self.c2(x)) + x
        return self.out(x.mean(-1))


torch.manual_seed(7)
signal = torch.randn(18 * 8, 2, 24)
target = (signal.mean((1, 2)) > 0.05).long() + (signal.mean((1, 2)) > -0.05).long()
loader = DataLoader(TensorDataset(signal, target), batch_size=8, shuffle=True)
model = Conv()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
#: T.trains("model", model)
global_step = 0
for epoch in range(args.epochs):
    optimizer.zero_grad()
    #: T.zero_grad()
    for i, (inputs, labels) in enumerate(loader):
        #: T.batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(inputs)
            #: T.call("model")
            loss = F.cross_entropy(out.float(), labels)
        loss = loss / args.accumulation_steps
        #: T.backward(loss, "loss")
        loss.backward()
        if (i + 1) % args.accumulation_steps == 0 or i + 1 == len(loader):
            optimizer.step()
            #: T.step("optimizer")
            optimizer.zero_grad()
            #: T.zero_grad()
            global_step += 1
    print(f"epoch {epoch}: {global_step} steps, loss {loss.item() * args.accumulation_steps:.4f}")

digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()
print(f"FINAL {digest}")
