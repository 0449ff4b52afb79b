"""Accumulation over batches of a loader, with a last window that is smaller, and metrics of torch's own kind beside the loss."""
import hashlib

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

#: T.run(batches="DataLoader")
torch.manual_seed(19)
X = torch.randn(35, 3)
dataloader = DataLoader(TensorDataset(X, X.abs().sum(1)), batch_size=5)
model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
accum_iter, mae = 3, nn.L1Loss()
#: T.trains("model", model)
for epoch in range(2):
    for batch_idx, (inputs, labels) in enumerate(dataloader):
        #: T.batch()
        with torch.set_grad_enabled(True):
            preds = model(inputs)
            #: T.call("model")
            loss = nn.functional.huber_loss(preds, labels)
            error = mae(preds.detach(), labels)
            loss = loss / accum_iter
            #: T.backward(loss, "loss")
            loss.backward()
            if ((batch_idx + 1) % accum_iter == 0) or (batch_idx + 1 == len(dataloader)):
                optimizer.step()
                #: T.step("optimizer")
                optimizer.zero_grad()
                #: T.zero_grad()
                print(epoch, batch_idx, round(loss.item(), 6), round(error.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
