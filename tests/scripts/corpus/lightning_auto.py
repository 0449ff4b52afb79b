"""Lightning, automatic optimization: a scheduler after each step, clipping, accumulation, validation, the sanity check."""
import hashlib
import logging
import warnings

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset



class LitClassifier(L.LightningModule):
    def __init__(self, width=20, lr=5e-3):
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.body(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self(x), y))

    def on_validation_epoch_end(self):
        print(f"validation {self.trainer.callback_metrics['val_loss']:.5f}, {self.trainer.sanity_checking}")

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}








def main():
    L.seed_everything(42, verbose=False)
    x = torch.randn(160, 6)
    y = x[:, :3].argmax(1)
    train, val = TensorDataset(x[:128], y[:128]), TensorDataset(x[128:], y[128:])
    model = LitClassifier()
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        accumulate_grad_batches=2,
        gradient_clip_val=0.5,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(train, batch_size=16, shuffle=True), DataLoader(val, batch_size=16))
    h = hashlib.sha256()
    for p in model.parameters():
        h.update(p.detach().numpy().tobytes())
    print("FINAL", h.hexdigest())


if __name__ == "__main__":
    main()
