"""Mixed precision on a machine without an accelerator."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmman.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """bfloat16 autocast on CPU, without loss scaling, which bfloat16 does not need.

    mmengine's ``AmpOptimWrapper`` refuses to be built without an accelerator.

    Args:
        dtype (str, optional): ``'bfloat16'``, the only one that autocast trains with on CPU. None means the same.
            Defaults to None.
        **kwargs: Arguments of ``OptimWrapper``.

    Raises:
        ValueError: If another dtype is asked for.
    """

    def __init__(self, dtype: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if dtype not in (None, 'bfloat16'):
            raise ValueError(f"mixed precision on CPU needs dtype='bfloat16', got {dtype!r}")

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the model's forward in bfloat16 where that is safe."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
