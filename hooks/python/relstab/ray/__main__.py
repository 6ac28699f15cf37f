"""`python -m relstab.ray`: a worker of a daemon, as an actor on whatever node of a Ray cluster has room."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

try:
    import ray

    from . import share_of_gpu
except ImportError as missing:
    sys.exit(f"error: {missing}")

from ..relay import LostError, Process, relay

#: Without room in the cluster for so long, seconds, the daemon gives the checkpoint to a worker that has some.
_PATIENCE_S = 120.0


class _Actor:
    """The worker of an actor, which Ray neither starts again nor asks twice: the daemon counts attempts."""

    def __init__(self, cpus: float, workers_per_gpu: int, arguments: list[str]) -> None:
        # Three calls at once: it is told, heard and overheard.
        settings: Any = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 3}
        kind: Any = ray.remote(num_cpus=cpus, num_gpus=share_of_gpu(workers_per_gpu), **settings)(Process)
        self._actor = kind.remote(arguments)
        self._has_begun = False

    def tell(self, block: bytes) -> None:
        _got(self._actor.tell.remote(block))

    def hear(self) -> bytes:
        reference = self._actor.hear.remote()
        if not self._has_begun and not ray.wait([reference], timeout=_PATIENCE_S)[0]:
            raise LostError(f"no node of the Ray cluster has had room for a worker for {_PATIENCE_S:g} s")
        heard: bytes = _got(reference)
        self._has_begun = True
        return heard

    def overhear(self) -> bytes:
        overheard: bytes = _got(self._actor.overhear.remote())
        return overheard

    def end(self) -> int:
        code: int = _got(self._actor.end.remote())
        return code


def _got(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise LostError(f"a worker of Ray was lost: {str(error).strip().splitlines()[0]}") from error


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m relstab.ray",
        description="A worker of `relstab watch --worker-command 'python -m relstab.ray'`, on a node of the Ray cluster that "
        "RAY_ADDRESS names, or that runs here. Other flags are those of `relstab worker`, such as --memory-limit 16GiB.",
        allow_abbrev=False,
    )
    parser.add_argument("--cpus", type=float, default=1.0, metavar="N", help="CPUs that Ray counts for it")
    parser.add_argument(
        "--workers-per-gpu", type=int, default=0, metavar="K", help="a GPU, shared by so many workers; 0: none"
    )
    known, arguments = parser.parse_known_args()
    # Ray prints, too: where the daemon hears answers, that would be nonsense.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        ray.init(address="auto", logging_level=logging.ERROR, log_to_driver=False)
    except ConnectionError as error:
        sys.exit(f"error: no Ray cluster: start one with `ray start --head`, or name it in RAY_ADDRESS ({error})")
    worker = _Actor(known.cpus, known.workers_per_gpu, arguments)
    code = relay(worker, os.fdopen(0, "rb", buffering=0), answers, sys.stderr.buffer)
    # Without what Python and Ray do at their end: a thread still reads.
    os._exit(code)


if __name__ == "__main__":
    main()
