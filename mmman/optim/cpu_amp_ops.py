"""What detectors need in mixed precision on CPU beyond torch's autocast: mmcv's compiled operations, exact boxes."""

import functools
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils._pytree import tree_leaves, tree_map

from mmman.models import unwrapped

HALF = (torch.bfloat16, torch.float16)


def let_mmcv_ops_take_half_precision() -> None:
    """Let mmcv's compiled operations (NMS, RoIAlign, deformable convolutions) take tensors in half precision on CPU.

    There they are compiled for single precision only: "expected scalar type Float but found BFloat16". So they compute
    in it, and return the type that they were given, as on a GPU. They are called as functions, deep inside of heads
    and layers, where no hook reaches them: their ``forward`` and ``backward`` are replaced, for the whole process.
    Nothing changes for tensors in single precision, or on another device.
    """
    if importlib.util.find_spec('mmcv._ext') is None:
        return  # mmcv-lite: nothing is compiled
    import mmcv.ops

    for info in pkgutil.iter_modules(mmcv.ops.__path__, 'mmcv.ops.'):
        for kind in vars(sys.modules[info.name]).values() if info.name in sys.modules else ():
            is_own = isinstance(kind, type) and issubclass(kind, Function) and kind.__module__ == info.name
            if is_own and 'takes_half_precision' not in vars(kind):
                kind.takes_half_precision = True
                kind.forward = staticmethod(_in_single_precision(kind.forward, keeps_type=True))
                # The engine itself gives a gradient the type of what it belongs to.
                kind.backward = staticmethod(_in_single_precision(kind.backward, keeps_type=False))


def _in_single_precision(function: Callable, keeps_type: bool) -> Callable:
    @functools.wraps(function)
    def run(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        half = next((leaf.dtype for leaf in tree_leaves((args, kwargs)) if _is_half(leaf)), None)
        if half is None:
            return function(ctx, *args, **kwargs)
        args, kwargs = tree_map(lambda leaf: leaf.float() if _is_half(leaf) else leaf, (args, kwargs))
        with torch.autocast('cpu', enabled=False):
            outputs = function(ctx, *args, **kwargs)
        return tree_map(lambda leaf: leaf.to(half) if _is_single(leaf) else leaf, outputs) if keeps_type else outputs

    return run


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == 'cpu' and value.dtype in HALF


def _is_single(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float32


@contextmanager
def proposals_in_single_precision(model: nn.Module) -> Iterator[None]:
    """Inside, let a two-stage detector make its proposals from predictions in single precision.

    Boxes in bfloat16 are off by pixels, and NMS shifts those of each level by some thousand more. On a GPU autocast
    decodes them in single precision (``exp``), on CPU it does not.

    Args:
        model (nn.Module): Any model, or a wrapper around it.
    """
    rpn = getattr(unwrapped(model), 'rpn_head', None)
    if rpn is None:
        yield
        return
    handle = rpn.register_forward_hook(
        lambda module, args, outputs: tree_map(lambda leaf: leaf.float() if _is_half(leaf) else leaf, outputs)
    )
    try:
        yield
    finally:
        handle.remove()
