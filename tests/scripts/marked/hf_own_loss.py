"""A subclass of Hugging Face's Trainer with a loss of its own, an optimizer that is handed in, and a callback that stops it."""
import hashlib
import tempfile

import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

#: T.run(batches="DataLoader")
torch.manual_seed(29)


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, features):
        return {"logits": self.net(features)}


class Weighted(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        #: T._events.append({"kind": "batch"}), T.call("model")
        own_loss = nn.functional.cross_entropy(outputs["logits"], labels, weight=torch.tensor([1.0, 3.0]))
        #: T.backward(own_loss, None)
        return (own_loss, outputs) if return_outputs else own_loss


class Stop(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        #: T.clip()
        return control

    def on_optimizer_step(self, args, state, control, **kwargs):
        #: T.step("opt")
        return control

    def on_step_end(self, args, state, control, **kwargs):
        #: T.schedule(), T.zero_grad()
        if state.global_step >= 4:
            control.should_training_stop = True
        return control


data = [{"features": torch.randn(4), "labels": i % 2} for i in range(24)]
model = Toy()
opt = torch.optim.SGD(model.parameters(), lr=0.1)
sched = torch.optim.lr_scheduler.ConstantLR(opt, 0.5, 2)
#: T.trains("model", model)
with tempfile.TemporaryDirectory() as folder:
    args = TrainingArguments(folder, per_device_train_batch_size=4, num_train_epochs=2, report_to=[], save_strategy="no", logging_steps=2, use_cpu=True, disable_tqdm=True, max_grad_norm=0.5, remove_unused_columns=False)
    trainer = Weighted(model=model, args=args, train_dataset=data, optimizers=(opt, sched), callbacks=[Stop()])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
