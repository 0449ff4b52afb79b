"""Accelerate: prepare(), accumulate(), backward() and clip_grad_norm_() of the accelerator's; the loss is divided in there."""
import hashlib

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset



def training_function():
    accelerator = Accelerator(gradient_accumulation_steps=3, cpu=True)
    set_seed(10)
    x = torch.randn(144, 5)
    model = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Linear(24, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    train_dataloader = DataLoader(TensorDataset(x, x.norm(dim=1, keepdim=True)), batch_size=16, shuffle=True)
    model, optimizer, train_dataloader, scheduler = accelerator.prepare(model, optimizer, train_dataloader, scheduler)
    for epoch in range(2):
        model.train()
        for step, (inputs, targets) in enumerate(train_dataloader):
            with accelerator.accumulate(model):
                predictions = model(inputs)
                loss = nn.functional.mse_loss(predictions, targets)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        accelerator.print(f"epoch {epoch}: {loss.item():.5f} {scheduler.get_last_lr()[0]:.6f}")
    h = hashlib.sha256()
    for p in accelerator.unwrap_model(model).parameters():
        h.update(p.detach().numpy().tobytes())
    print("FINAL", h.hexdigest())


if __name__ == "__main__":
    training_function()
