"""Wasserstein GAN with gradient penalty: a gradient of a gradient (autograd.grad) inside the critic's loss, two critic steps each."""
import hashlib

import numpy as np
import torch
import torch.autograd as autograd
import torch.nn as nn

#: T.run(batches="own random")
torch.manual_seed(2024)
latent_dim, n_critic, lambda_gp = 6, 2, 10.0


class Generator(nn.Module):
    def __init__(self):
        super().__init__()

        def block(i, o, normalize=True):
            layers = [nn.Linear(i, o)]
            if normalize:
                layers.append(nn.BatchNorm1d(o, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(*block(latent_dim, 16, normalize=False), *block(16, 32), nn.Linear(32, 2))

    def forward(self, z):
        return self.model(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, img):
        return self.model(img)


generator, discriminator = Generator(), Discriminator()
optimizer_G = torch.optim.Adam(generator.parameters(), lr=0.001, betas=(0.5, 0.9))
optimizer_D = torch.optim.Adam(discriminator.parameters(), lr=0.001, betas=(0.5, 0.9))
#: T.trains("generator", generator)
#: T.trains("discriminator", discriminator)


def compute_gradient_penalty(D, real_samples, fake_samples):
    alpha = torch.rand(real_samples.size(0), 1)
    interpolates = (alpha * real_samples + (1 - alpha) * fake_samples).requires_grad_(True)
    d_interpolates = D(interpolates)
    #: T.call("discriminator")
    gradients = autograd.grad(
        outputs=d_interpolates,
        inputs=interpolates,
        grad_outputs=torch.ones_like(d_interpolates),
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


for i in range(8):
    angle = torch.rand(64, 1) * 2 * np.pi
    real_imgs = torch.cat([angle.cos(), angle.sin()], 1)
    optimizer_D.zero_grad()
    #: T.zero_grad()
    z = torch.randn(64, latent_dim)
    fake_imgs = generator(z)
    #: T.call("generator")
    real_validity = discriminator(real_imgs)
    #: T.call("discriminator")
    fake_validity = discriminator(fake_imgs.detach())
    #: T.call("discriminator")
    gradient_penalty = compute_gradient_penalty(discriminator, real_imgs.data, fake_imgs.data)
    d_loss = -torch.mean(real_validity) + torch.mean(fake_validity) + lambda_gp * gradient_penalty
    #: T.backward(d_loss, "d_loss")
    d_loss.backward()
    optimizer_D.step()
    #: T.step("optimizer_D")
    optimizer_G.zero_grad()
    #: T.zero_grad()
    if i % n_critic == 0:
        fake_imgs = generator(z)
        #: T.call("generator")
        fake_validity = discriminator(fake_imgs)
        #: T.call("discriminator")
        g_loss = -torch.mean(fake_validity)
        #: T.backward(g_loss, "g_loss")
        g_loss.backward()
        optimizer_G.step()
        #: T.step("optimizer_G")
        print("[Batch %d] [D loss: %f] [G loss: %f]" % (i, d_loss.item(), g_loss.item()))

h = hashlib.sha256()
for p in [*generator.parameters(), *discriminator.parameters()]:
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
