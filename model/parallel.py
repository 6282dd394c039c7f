"""Training in several processes that torchrun has started, on one machine or more."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """The processes of a training: this one alone, or several that each take a share of every batch.

    Attributes:
        rank: number of this one; 0 writes the files.
        count: how many there are.
        device: what this one computes on.
    """

    rank: int
    count: int
    device: torch.device

    def share(self, batch: int) -> tuple[Tensor, bool]:
        """Which clips of a batch are this process's, and whether they count.

        Where there are fewer clips than processes, one that has none takes the first, which then does not count:
        all processes must run every step.
        """
        own = torch.arange(self.rank, batch, self.count)
        return (own, True) if len(own) else (torch.zeros(1, dtype=torch.int64), False)

    def wrapped(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model, with gradients that are averaged over all processes."""
        if self.count == 1:
            return model
        on = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=on, broadcast_buffers=False)

    def total(self, *numbers: float) -> list[float]:
        """The sums of numbers over all processes."""
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        if self.count > 1:
            distributed.all_reduce(sums)
        return sums.tolist()

    def agreed(self, number: float) -> float:
        """The first process's number."""
        return self.total(number if self.rank == 0 else 0.0)[0]


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread, and afterwards on as many as before.

    Steps of a training are too small to share: a second thread mostly waits, and on a busy machine trebles the time.
    One thread also makes the sums, and so the weights, the same on every number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def leads() -> bool:
    """Whether this process is the only one, or the first of those that torchrun has started."""
    return not distributed.is_torchelastic_launched() or os.environ["RANK"] == "0"


@contextmanager
def joined() -> Iterator[Processes]:
    """Joins the processes that torchrun has started, if it has: gloo between CPUs, NCCL between GPUs."""
    cuda = torch.cuda.is_available()
    if not distributed.is_torchelastic_launched():
        yield Processes(0, 1, torch.device("cuda" if cuda else "cpu"))
        return
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()
