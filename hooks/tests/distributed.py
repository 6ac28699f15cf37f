"""Two processes, one training: run by torch.distributed.run; the run's directory is in RUN."""

import os
from pathlib import Path

import relstab
import torch
from relstab.torch import Monitor
from torch import distributed, nn
from training import Digits, network

distributed.init_process_group("gloo")
rank, run, digits = distributed.get_rank(), os.environ["RUN"], Digits()
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(network())
optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
monitor = Monitor(run, probe=digits.probe, stop={"monitor": "val_error", "patience": 2})
daemon = relstab.start(run, images=60, draws=1, backend="tract")
step = 0
for step in range(1, 41):
    batch = slice(30 * (2 * step + rank) % 1200, 30 * (2 * step + rank) % 1200 + 30)
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(digits.images[batch]), digits.labels[batch]).backward()
    optimiser.step()
    # An error that never improves.
    monitor.checkpoint(model, step=step, val_error=0.5)
    assert monitor.wait(60)
    if monitor.should_stop():
        break
Path(run, f"stopped.{rank}").write_text(str(step))
monitor.close()
# As docs/frameworks.md has it for those who ask over the socket.
told = [relstab.Client.of(run).decision(run)["stop"] if rank == 0 else None]
distributed.broadcast_object_list(told, src=0)
assert told == [True]
# Gloo may abort a process whose peer has gone: neither goes before both are done.
distributed.barrier()
distributed.destroy_process_group()
