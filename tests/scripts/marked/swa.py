"""Averages of weights by torch.optim.swa_utils: two averages, SWALR, and statistics of batch norm made anew at the end."""
import hashlib

import torch
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader, TensorDataset

#: T.run(batches="DataLoader")
torch.manual_seed(10)
X = torch.randn(48, 6)
loader = DataLoader(TensorDataset(X, X[:, :1] * X[:, 1:2]), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 1))
swa_model, ema_model = AveragedModel(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
swa_scheduler = SWALR(optimizer, anneal_epochs=2, swa_lr=0.05)
#: T.trains("model", model)
for epoch in range(3):
    for input, target in loader:
        #: T.batch()
        optimizer.zero_grad()
        #: T.zero_grad()
        pred = model(input)
        #: T.call("model")
        loss = nn.functional.mse_loss(pred, target)
        #: T.backward(loss, "loss")
        loss.backward()
        optimizer.step()
        #: T.step("optimizer")
        ema_model.update_parameters(model)
    if epoch >= 1:
        swa_model.update_parameters(model)
        swa_scheduler.step()
    else:
        scheduler.step()
    #: T.schedule()
    print(epoch, round(loss.item(), 6))
#: T._events += [{"kind": "batch"}, {"kind": "evaluate"}]
update_bn(loader, swa_model)
swa_model.eval()
with torch.no_grad():
    value = nn.functional.mse_loss(swa_model(X), X[:, :1]).item()
print("swa", round(value, 6))
tensors = [*model.state_dict().values(), *swa_model.state_dict().values(), *ema_model.state_dict().values()]
print("FINAL", hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest())
