"""A plain PyTorch loop on scikit-learn's digits that stops when the known error no longer falls.

pip install './hooks[torch,cpu]' scikit-learn && python hooks/examples/torch_loop.py
"""

import relstab
import relstab.torch
import torch
from sklearn.datasets import load_digits
from torch import nn

digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
labels = torch.tensor(digits.target)
trained, held_out = slice(0, 1200), slice(1200, None)
network = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1, bias=False),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(1024, 10),
)
optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

monitor = relstab.torch.Monitor("runs/digits", probe=images[held_out], stop={"monitor": "val_error", "patience": 3})
daemon = relstab.start("runs/digits", nice=10)

step = 0
for epoch in range(1, 31):
    network.train()
    for batch in torch.randperm(1200).split(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
        optimiser.step()
        step += 1
    with torch.no_grad():
        error = (network.eval()(images[held_out]).argmax(1) != labels[held_out]).float().mean().item()

    monitor.checkpoint(network, step=step, epoch=epoch, val_error=error)
    # Epochs of this example are shorter than a measurement; those of a real training need no waiting.
    monitor.wait(30)
    latest = monitor.latest
    print(f"epoch {epoch:2}  error {error:.3f}  R_f {latest.r_f.value if latest and latest.r_f else float('nan'):.3f}")
    if monitor.should_stop():
        break
monitor.close()
found = relstab.Client.of("runs/digits").decision("runs/digits")
print(f"stopped: {found['reason'] or 'after the last epoch'}")
print(f"best: error {found['best']['value']:.3f} at step {found['best']['step']}, {found['best']['path']}")
