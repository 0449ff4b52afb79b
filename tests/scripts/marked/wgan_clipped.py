"""The first Wasserstein GAN: several critic steps a generator step, weights clamped after each, gradients switched by requires_grad."""
import hashlib

import torch
from torch import nn

#: T.run(batches="own random")
torch.manual_seed(18)
netD = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
netG = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))
optD = torch.optim.RMSprop(netD.parameters(), lr=5e-3)
optG = torch.optim.RMSprop(netG.parameters(), lr=5e-3)
one, mone = torch.tensor(1.0), torch.tensor(-1.0)
n_critic = 3
#: T.trains("netD", netD)
#: T.trains("netG", netG)
for it in range(3):
    for p in netD.parameters():
        p.requires_grad = True
    for _ in range(n_critic):
        for p in netD.parameters():
            p.data.clamp_(-0.1, 0.1)
        netD.zero_grad()
        #: T.zero_grad()
        real = torch.randn(16, 2) + 2
        errD_real = netD(real).mean()
        #: T.call("netD")
        #: T.backward(errD_real, "errD_real")
        errD_real.backward(one)
        with torch.no_grad():
            fake = netG(torch.randn(16, 3))
            #: T.evaluate()
        errD_fake = netD(fake).mean()
        #: T.call("netD")
        #: T.backward(errD_fake, "errD_fake")
        errD_fake.backward(mone)
        optD.step()
        #: T.step("optD")
    for p in netD.parameters():
        p.requires_grad = False
    netG.zero_grad()
    #: T.zero_grad()
    fake = netG(torch.randn(16, 3))
    #: T.call("netG")
    errG = netD(fake).mean()
    #: T.call("netD")
    #: T.backward(errG, "errG")
    errG.backward(one)
    optG.step()
    #: T.step("optG")
    print(it, round(errG.item(), 6), round((errD_real - errD_fake).item(), 6))
nets = [*netD.parameters(), *netG.parameters()]
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in nets)).hexdigest())
