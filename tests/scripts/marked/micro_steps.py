"""GPT-like loop: get_batch, the next batch loaded while the step runs, micro-steps, a flag for the exchange of gradients, rates by hand."""
import hashlib
import math
from contextlib import nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F

#: T.run(batches="get_batch")
gradient_accumulation_steps, block_size, batch_size, max_iters, eval_interval = 3, 8, 4, 5, 2
ddp = False
torch.manual_seed(1337)
data = torch.randint(0, 17, (400,))


def get_batch():
    ix = torch.randint(len(data) - block_size, (batch_size,))
    return torch.stack([data[i : i + block_size] for i in ix]), torch.stack([data[i + 1 : i + 1 + block_size] for i in ix])


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.ln, self.qkv, self.proj = nn.LayerNorm(n), nn.Linear(n, 3 * n, bias=False), nn.Linear(n, n, bias=False)

    def forward(self, x):
        q, k, v = self.qkv(self.ln(x)).split(x.size(-1), dim=2)
        return x + self.proj(F.scaled_dot_product_attention(q, k, v, is_causal=True))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(17, 16)
        self.h = nn.ModuleList([Block(16) for _ in range(2)])
        self.lm_head = nn.Linear(16, 17, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx, targets=None):
        x = self.wte(idx)
        for block in self.h:
            x = block(x)
        logits = self.lm_head(x)
        loss = F.cross_entropy(logits.view(-1, 17), targets.view(-1)) if targets is not None else None
        return logits, loss


model = Net()
raw_model = model
ctx = nullcontext()
scaler = torch.amp.GradScaler("cpu", enabled=False)
decay = [p for p in model.parameters() if p.dim() >= 2]
optimizer = torch.optim.AdamW(
    [{"params": decay, "weight_decay": 0.1}, {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
)
#: T.trained(*("model." + n for n, p in model.named_parameters()))


@torch.no_grad()
def estimate_loss():
    model.eval()
    losses = torch.zeros(2)
    for k in range(2):
        X, Y = get_batch()
        logits, loss = model(X, Y)
        #: T.evaluate()
        losses[k] = loss.item()
    model.train()
    return losses.mean()


X, Y = get_batch()
iter_num = 0
while True:
    lr = 1e-2 * 0.5 * (1 + math.cos(math.pi * iter_num / max_iters))
    for param_group in optimizer.param_groups:
        param_group["lr"] = lr
    if iter_num % eval_interval == 0:
        print(f"step {iter_num}: val loss {estimate_loss():.6f}")
    for micro_step in range(gradient_accumulation_steps):
        if ddp:
            model.require_backward_grad_sync = micro_step == gradient_accumulation_steps - 1
        with ctx:
            logits, loss = model(X, Y)
            #: T.call("model")
            loss = loss / gradient_accumulation_steps
        X, Y = get_batch()
        #: T.backward(loss, "loss")
        scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    #: T.clip()
    scaler.step(optimizer)
    #: T.step("optimizer")
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    #: T.zero_grad()
    iter_num += 1
    if iter_num > max_iters:
        break
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
