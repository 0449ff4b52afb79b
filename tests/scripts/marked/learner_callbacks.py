"""A learner with callbacks, which leave a batch or the whole training by exceptions."""
import hashlib
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

#: T.run(batches="DataLoader")


class CancelBatch(Exception):
    pass


class CancelFit(Exception):
    pass


class Callback:
    def __getattr__(self, name):
        if name.startswith(("before_", "after_")):
            return lambda learn: None
        raise AttributeError(name)


class SkipThird(Callback):
    def after_loss(self, learn):
        if learn.training and learn.n == 2:
            raise CancelBatch()


class StopAt(Callback):
    def before_epoch(self, learn):
        if learn.epoch == 2:
            raise CancelFit()


class Sched(Callback):
    def before_fit(self, learn):
        self.sched = optim.lr_scheduler.OneCycleLR(learn.opt, 0.1, total_steps=30)

    def after_step(self, learn):
        self.sched.step()
        #: T.schedule()


class Learner:
    def __init__(self, model, dls, loss_func, opt_func, cbs):
        self.model, self.dls, self.loss_func, self.cbs = model, dls, loss_func, cbs
        self.opt = opt_func(model.parameters())

    def callback(self, name):
        for cb in self.cbs:
            getattr(cb, name)(self)

    def one_batch(self):
        self.preds = self.model(self.batch[0])
        #: T.call("learn.model") if self.training else T.evaluate()
        self.loss = self.loss_func(self.preds, self.batch[1])
        self.callback("after_loss")
        if self.training:
            #: T.backward(self.loss, "learn.loss")
            self.loss.backward()
            self.opt.step()
            #: T.step("learn.opt")
            self.callback("after_step")
            self.opt.zero_grad()
            #: T.zero_grad()

    def one_epoch(self, training):
        self.training = training
        self.model.train(training)
        for self.n, self.batch in enumerate(self.dls[0 if training else 1]):
            #: T.batch()
            try:
                self.one_batch()
            except CancelBatch:
                print("cancelled", self.n)

    def fit(self, n_epochs):
        try:
            self.callback("before_fit")
            for self.epoch in range(n_epochs):
                self.callback("before_epoch")
                self.one_epoch(True)
                with torch.no_grad():
                    self.one_epoch(False)
                print(self.epoch, round(self.loss.item(), 6))
        except CancelFit:
            print("stopped")


torch.manual_seed(14)
X = torch.randn(50, 4)
ds = TensorDataset(X, (X.sum(1) > 0).long())
dls = DataLoader(ds, 10, shuffle=True), DataLoader(ds, 25)
learn = Learner(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), dls, F.cross_entropy, partial(optim.Adam, lr=0.01), [SkipThird(), StopAt(), Sched()])
#: T.trains("learn.model", learn.model)
learn.fit(4)
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in learn.model.parameters())).hexdigest())
