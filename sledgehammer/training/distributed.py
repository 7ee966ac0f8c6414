"""Gather what the workers of a distributed run hold."""

from typing import List

import torch
import torch.distributed as dist
from allennlp.common.util import int_to_device, is_distributed
from torch import Tensor


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all workers, in the order of their ranks.

    (rows, ...) on the CPU -> (all workers' rows, ...) on the CPU. Workers may have different
    numbers of rows. Outside of distributed training the tensor itself is returned.
    """
    if not is_distributed():
        return rows
    device = int_to_device(torch.cuda.current_device() if dist.get_backend() == "nccl" else -1)
    counts: List[Tensor] = [torch.zeros(1, dtype=torch.long, device=device) for _ in _workers()]
    dist.all_gather(counts, torch.tensor([len(rows)], device=device))
    longest = max(int(count) for count in counts)
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows
    gathered = [torch.zeros_like(padded, device=device) for _ in _workers()]
    dist.all_gather(gathered, padded.to(device))
    return torch.cat([part[: int(count)].cpu() for part, count in zip(gathered, counts)])


def _workers() -> range:
    return range(dist.get_world_size())
