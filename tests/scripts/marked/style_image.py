"""An image is what is trained, by LBFGS with a closure; the network that looks at it stands still."""
import hashlib

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

#: T.run(batches="none")
torch.manual_seed(12)
cnn = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)).eval().requires_grad_(False)
content, style = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)


def gram_matrix(t):
    f = t.flatten(2)[0]
    return f @ f.t() / f.numel()


with torch.no_grad():
    content_target, style_target = cnn(content), gram_matrix(cnn(style))
    #: T.evaluate()
input_img = content.clone()
optimizer = optim.LBFGS([input_img.requires_grad_(True)], max_iter=3)
#: T.trained("input_img")
run = [0]
while run[0] < 9:

    def closure():
        with torch.no_grad():
            input_img.clamp_(0, 1)
        optimizer.zero_grad()
        #: T.zero_grad()
        features = cnn(input_img)
        #: T.call("cnn")
        style_score = 1e4 * F.mse_loss(gram_matrix(features), style_target)
        loss = style_score + F.mse_loss(features, content_target)
        #: T.backward(loss, "loss")
        loss.backward()
        run[0] += 1
        return style_score + loss

    optimizer.step(closure)
    #: T.step("optimizer")
    print(run[0])
print("FINAL", hashlib.sha256(input_img.detach().numpy().tobytes()).hexdigest())
