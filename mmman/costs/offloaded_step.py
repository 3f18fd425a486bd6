"""A training step whose kept tensors wait on the CPU."""

import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks

from .training_step import StepInBackward


class OffloadedStep(StepInBackward):
    """A training step end to end that keeps on the CPU what its backward needs; each parameter is stepped at once.

    It is torch's ``save_on_cpu``. Where parts are recomputed, that is their inputs. In a dry step what is kept becomes
    tensors of torch's meta device, which take no memory; so bytes are those of the device that computes.

    Args:
        cfg (Config): A config that trains end to end.
        dry (bool): See :class:`TrainingStep`.
    """

    def run(self) -> None:
        """Train one step."""
        hooks = saved_tensors_hooks(_leave, _come_back) if self.dry else save_on_cpu(pin_memory=True)
        with hooks:
            super().run()


def _leave(x: Tensor) -> tuple[torch.device, Tensor]:
    # Positions and masks are few, and a dry step needs their values.
    return x.device, x.to('meta') if x.is_floating_point() else x


def _come_back(kept: tuple[torch.device, Tensor]) -> Tensor:
    device, x = kept
    return torch.zeros_like(x, device=device) if x.is_meta else x
