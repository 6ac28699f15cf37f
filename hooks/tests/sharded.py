"""Two processes, one training with sharded weights: run by torch.distributed.run; the run's directory is in RUN.

SHARD says how: by `fully_shard` (the default), or by the older FullyShardedDataParallel, with its weights under their names or flattened.
"""

import os
from pathlib import Path

import torch
from relstab.torch import Monitor
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from training import Digits, network

distributed.init_process_group("gloo")
rank, run, digits = distributed.get_rank(), Path(os.environ["RUN"]), Digits()
mesh = init_device_mesh("cpu", (2,))
torch.manual_seed(0)
model = network()
how = os.environ.get("SHARD", "fully_shard")
if how == "fully_shard":
    fully_shard(list(model.children())[4], mesh=mesh)
    fully_shard(model, mesh=mesh)
else:
    policy = ModuleWrapPolicy({nn.Conv2d})
    device = torch.device("cpu")
    model = FullyShardedDataParallel(model, auto_wrap_policy=policy, device_id=device, use_orig_params=how == "named")
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
