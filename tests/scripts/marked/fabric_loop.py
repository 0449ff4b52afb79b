"""Lightning's Fabric: setup of model, optimizer and loader, fabric.backward, accumulation without exchange, clipping by Fabric."""
import hashlib
import warnings

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

#: T.run(batches="DataLoader")
warnings.filterwarnings("ignore")
fabric = Fabric(accelerator="cpu", devices=1)
fabric.launch()
torch.manual_seed(28)
X = torch.randn(32, 4)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
loader = fabric.setup_dataloaders(DataLoader(TensorDataset(X, X.mean(1, keepdim=True)), batch_size=4))
model, optimizer = fabric.setup(model, optimizer)
#: T.trained(*("model." + n for n, p in model.module.named_parameters()))
for i, (x, y) in enumerate(loader):
    #: T.batch()
    is_accumulating = i % 2 == 0
    with fabric.no_backward_sync(model, enabled=is_accumulating):
        out = model(x)
        #: T.call("model")
        loss = nn.functional.mse_loss(out, y)
        #: T.backward(loss, "loss")
        fabric.backward(loss)
    if not is_accumulating:
        fabric.clip_gradients(model, optimizer, max_norm=0.1)
        #: T.clip()
        optimizer.step()
        #: T.step("optimizer")
        optimizer.zero_grad()
        #: T.zero_grad()
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
