"""A training step of compiled code, whose compiler chooses what is recomputed."""

import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch._functorch import config as functorch_config
from torch.utils._python_dispatch import TorchDispatchMode

from .dry_run import DryRun
from .live_bytes import LiveBytes
from .timeline import Timeline
from .training_step import TrainingStep

PARTS = ('backbone', 'neck', 'rpn_head', 'bbox_head', 'decode_head', 'auxiliary_head', 'head')
BUDGET = 0.5


class _SeesCompiledCode:
    """A dispatch mode that is no reason for torch to leave compiled code alone."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True


class _DryRun(_SeesCompiledCode, DryRun):
    """A dry run of compiled code."""


class _LiveBytes(_SeesCompiledCode, LiveBytes):
    """The live bytes of compiled code."""


class _Timeline(_SeesCompiledCode, Timeline):
    """The work of compiled code."""


class CompiledStep(TrainingStep):
    """A training step whose backbone, neck and heads are compiled to keep half of what they would keep.

    It is ``torch.compile`` with ``activation_memory_budget = 0.5``: the compiler recomputes what takes fewest FLOPs.
    A real step runs inductor's code. A dry step runs what the compiler has chosen operation by operation, which takes
    the same FLOPs and keeps the same, but has results between operations that inductor's fused kernels never write.

    Args:
        cfg (Config): A config that trains end to end.
        dry (bool): See :class:`TrainingStep`.

    Raises:
        RuntimeError: If this version of torch does not run compiled code in a dry step.
    """

    dry_run, live_bytes = _DryRun, _LiveBytes

    def prepare(self, model: nn.Module, optim_wrapper: OptimWrapper) -> None:
        """Let torch compile the parts of the model when they run first."""
        if not hasattr(TorchDispatchMode, 'ignore_compile_internals'):
            raise RuntimeError(f'torch {torch.__version__} does not run compiled code where bytes are counted')
        functorch_config.activation_memory_budget = BUDGET
        for name in PARTS:
            part = getattr(model, name, None)
            if isinstance(part, nn.Module):
                part.compile(backend='aot_eager_decomp_partition' if self.dry else 'inductor')

    def flops(self) -> int:
        """Count the floating point operations of a step; torch's own counter sees no compiled code."""
        with self._mode, _Timeline() as line:
            line.mark()
            self.run()
            line.mark()
        return line.work(0, 1).flops
