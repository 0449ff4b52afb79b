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

#: T.run(batches="DataLoader")


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
        #: T.batch()
        loss = nn.functional.cross_entropy(self(x), y)
        #: T.call("model")
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self(x), y))
        #: T.evaluate()

    def on_validation_epoch_end(self):
        print(f"validation {self.trainer.callback_metrics['val_loss']:.5f}, {self.trainer.sanity_checking}")

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    #: def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
        #: super().optimizer_zero_grad(epoch, batch_idx, optimizer)
        #: T.zero_grad()

    #: def on_validation_model_zero_grad(self):
        #: super().on_validation_model_zero_grad()
        #: T.zero_grad()

    #: def on_before_backward(self, loss):
        #: T.backward(loss, "loss")

    #: def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        #: super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        #: T.clip()

    #: def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        #: super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        #: T.step("AdamW")

    #: def lr_scheduler_step(self, scheduler, metric):
        #: super().lr_scheduler_step(scheduler, metric)
        #: T.schedule()


def main():
    L.seed_everything(42, verbose=False)
    x = torch.randn(160, 6)
    y = x[:, :3].argmax(1)
    train, val = TensorDataset(x[:128], y[:128]), TensorDataset(x[128:], y[128:])
    model = LitClassifier()
    #: T.trains("model", model)
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
