"""Two processes, one training with sharded weights: run by torch.distributed.run; the run's directory is in RUN."""

import os
from pathlib import Path

import torch
from relstab.torch import Monitor
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from training import Digits, network

distributed.init_process_group("gloo")
rank, run, digits = distributed.get_rank(), Path(os.environ["RUN"]), Digits()
mesh = init_device_mesh("cpu", (2,))
torch.manual_seed(0)
model = network()
fully_shard(list(model.children())[4], mesh=mesh)
fully_shard(model, mesh=mesh)
optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
with Monitor(run, probe=digits.probe, every=2) as monitor:
    for step in range(1, 6):
        optimiser.zero_grad()
        batch = slice(60 * (2 * step + rank), 60 * (2 * step + rank) + 60)
        nn.functional.cross_entropy(model(digits.images[batch]), digits.labels[batch]).backward()
        optimiser.step()
        path = monitor.checkpoint(model, step=step)
        assert (path is not None) == (rank == 0 and step % 2 == 1)
        assert model.training
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_model_state_dict(model, options=options)
        if path:
            plain = network().eval()
            plain.load_state_dict(state)
            torch.save(plain.state_dict(), path.with_suffix(".pt"))
    assert not monitor.should_stop()
distributed.barrier()
distributed.destroy_process_group()
