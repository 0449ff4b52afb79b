"""Five mistakes of order, one at a time. Each trains on all the same."""
import argparse
import hashlib
import warnings

import torch
from torch import nn

#: T.run(argv=["clip-scaled"], name="clip_scaled")
#: T.run(argv=["no-unscale"], name="no_unscale")
#: T.run(argv=["zero-late"], name="zero_late")
#: T.run(argv=["scheduler-first"], name="scheduler_first")
#: T.run(argv=["no-gradient"], name="no_gradient")
#: T.run(argv=["none"], name="none")
parser = argparse.ArgumentParser()
parser.add_argument("mistake")
mistake = parser.parse_args().mistake
warnings.simplefilter("ignore")
torch.manual_seed(6)
model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 1))
spare = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
spare_optimizer = torch.optim.SGD(spare.parameters(), lr=0.05)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=mistake in ("clip-scaled", "no-unscale", "none"))
#: T.trains("model", model)
for i in range(8):
    x = torch.randn(20, 4)
    if mistake == "scheduler-first":
        #: T.note("schedul", "before")
        scheduler.step()
        #: T.schedule()
    optimizer.zero_grad()
    #: T.zero_grad()
    loss = (model(x) - x.prod(1, keepdim=True)).abs().mean()
    #: T.call("model")
    #: T.backward(loss, "loss")
    scaler.scale(loss).backward()
    if mistake == "clip-scaled":
        #: T.note("clip", "scale")
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        #: T.clip()
        scaler.unscale_(optimizer)
        #: T.unscale()
    elif mistake == "no-unscale":
        #: T.note("clip", "unscale|still scaled|scale")
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        #: T.clip()
    elif mistake == "none":
        scaler.unscale_(optimizer)
        #: T.unscale()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        #: T.clip()
    elif mistake == "zero-late" and i % 2:
        #: T.note("clear|zero", "backward")
        optimizer.zero_grad(set_to_none=False)
        #: T.zero_grad()
    #: if mistake == "no-unscale": T.unscale()  # the scaler does it, in its step
    scaler.step(optimizer)
    #: T.step("optimizer")
    scaler.update()
    #: if scaler.is_enabled(): T.update()
    if mistake == "no-gradient":
        #: T.note("no gradient|without a gradient|no parameter")
        spare_optimizer.step()
        #: T.step("spare_optimizer")
    if mistake != "scheduler-first":
        scheduler.step()
        #: T.schedule()
    print(i, f"{loss.item():.6f}")
h = hashlib.sha256()
for p in model.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
