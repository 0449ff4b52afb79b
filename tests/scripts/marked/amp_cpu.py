"""Mixed precision on the CPU: autocast in bfloat16, a gradient scaler for the CPU that overflows at first, unscaled and clipped."""
import hashlib

import torch
from torch import nn

#: T.run(batches="own random")
torch.manual_seed(20)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.LayerNorm(32), nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=True)
scaler = torch.amp.GradScaler(device="cpu", init_scale=2.0**126, growth_interval=4)
#: T.trains("model", model)
for i in range(6):
    x = torch.randn(32, 8)
    optimizer.zero_grad(set_to_none=True)
    #: T.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
        #: T.call("model")
        loss = (out.float() - x[:, :1] * 30).pow(2).mean()
    #: T.backward(loss, "loss")
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    #: T.unscale()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    #: T.clip()
    scaler.step(optimizer)
    #: T.scaler_step(scaler, optimizer, "optimizer")
    scaler.update()
    #: T.update()
    print(i, round(loss.item(), 5), scaler.get_scale())
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
