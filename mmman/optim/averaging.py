"""Averages the gradients of one block over the processes, while the next block computes."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.distributed as dist
from mmengine.dist import get_comm_device
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


@dataclass
class Averaging:
    """Gradients on their way: started on all processes, not yet written back.

    Args:
        buckets (list): Parameters of one type, their gradients in one flat tensor, and the running all-reduce.
        used (tuple): Number of processes that have a gradient for each parameter, and of those whose loss was not
            finite; and its running all-reduce.
        group (ProcessGroup, optional): The processes; None for all.
    """

    buckets: list[tuple[list[nn.Parameter], Tensor, dist.Work]]
    used: tuple[Tensor, dist.Work]
    group: dist.ProcessGroup | None

    @torch.no_grad()
    def finish(self) -> bool:
        """Wait, and write the averages into ``.grad``.

        Returns:
            bool: Whether the losses of all processes were finite.
        """
        counts, work = self.used
        work.wait()
        used, broken = counts[:-1].tolist(), counts[-1].item()
        world_size = dist.get_world_size(self.group)
        position = 0
        for params, flat, work in self.buckets:
            work.wait()
            flat.div_(world_size)
            for param, grad in zip(params, _unflatten_dense_tensors(flat, params), strict=True):
                # A parameter that no process has used keeps no gradient, as in one process: else an optimizer would
                # step it by momentum and weight decay.
                if used[position]:
                    param.grad = grad
                position += 1
        return not broken


@torch.no_grad()
def start_averaging(params: Iterable[nn.Parameter], finite: bool, group: dist.ProcessGroup | None = None) -> Averaging:
    """Start to average ``.grad`` over all processes, without waiting for it. Until it is finished there is none.

    Args:
        params (Iterable[nn.Parameter]): The parameters of one block, the same on every process. Those that are frozen
            now are left out; it may be all of them.
        finite (bool): Whether this process's loss was finite; it travels along.
        group (ProcessGroup, optional): The processes to average over; None for all.

    Returns:
        Averaging: The running average.
    """
    params = [p for p in params if p.requires_grad]
    params.sort(key=lambda p: str(p.dtype))
    used = torch.tensor([p.grad is not None for p in params] + [not finite], dtype=torch.float32)
    used = used.to(params[0].device if params else get_comm_device(group))
    buckets = []
    for _, alike in groupby(params, key=lambda p: p.dtype):
        alike = list(alike)
        flat = _flatten_dense_tensors([p.grad if p.grad is not None else torch.zeros_like(p) for p in alike])
        # The flat copy takes their place: both would cost memory while the next block computes.
        for param in alike:
            param.grad = None
        buckets.append((alike, flat, dist.all_reduce(flat, group=group, async_op=True)))
    return Averaging(buckets, (used, dist.all_reduce(used, group=group, async_op=True)), group)
