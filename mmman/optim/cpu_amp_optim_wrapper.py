"""Mixed precision on a machine without an accelerator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn

from mmman.registry import OPTIM_WRAPPERS

from .cpu_amp_ops import let_mmcv_ops_take_half_precision, proposals_in_single_precision

DTYPES = {None: torch.bfloat16, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(AmpOptimWrapper):
    """``AmpOptimWrapper`` on CPU: the same arguments, loss scaling and state, so that one can resume the other's run.

    mmengine's own refuses to be built without an accelerator, and its autocast knows no float16 on CPU.

    Args:
        loss_scale (float | str | dict): ``'dynamic'``, a fixed scale, or arguments of ``torch.amp.GradScaler``.
            Defaults to ``'dynamic'``.
        dtype (str | torch.dtype, optional): ``'bfloat16'`` or ``'float16'``. None means bfloat16, which is what CPUs
            are fast in (on a GPU it means float16). Defaults to None.
        **kwargs: Arguments of ``OptimWrapper``.

    Raises:
        ValueError: If another dtype is asked for.
        TypeError: If ``loss_scale`` is none of the above.
    """

    def __init__(
        self, loss_scale: float | str | dict = 'dynamic', dtype: str | torch.dtype | None = None, **kwargs: Any
    ) -> None:
        # Not AmpOptimWrapper's, which asserts that there is an accelerator and makes a scaler for it.
        OptimWrapper.__init__(self, **kwargs)
        name = str(dtype).removeprefix('torch.') if isinstance(dtype, torch.dtype) else dtype
        if name not in DTYPES:
            raise ValueError(f"mixed precision on CPU needs dtype='bfloat16' or 'float16', got {dtype!r}")
        self.cast_dtype = DTYPES[name]
        self._scale_update_param = loss_scale if isinstance(loss_scale, float) else None
        if loss_scale == 'dynamic':
            options = {}
        elif isinstance(loss_scale, float):
            options = dict(init_scale=loss_scale)
        elif isinstance(loss_scale, dict):
            options = loss_scale
        else:
            raise TypeError(f"loss_scale must be 'dynamic', a float or a dict, got {loss_scale!r}")
        self.loss_scaler = torch.amp.GradScaler('cpu', **options)
        let_mmcv_ops_take_half_precision()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the model's forward in half precision where that is safe; see ``OptimWrapper.optim_context``."""
        with (
            OptimWrapper.optim_context(self, model),
            proposals_in_single_precision(model),
            torch.autocast('cpu', dtype=self.cast_dtype),
        ):
            yield
