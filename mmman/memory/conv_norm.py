"""Convolution and norm in one, where the norm is in evaluation mode: the convolution's output is not kept."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from mmengine.logging import print_log
from mmengine.model.efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval_for_single_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def join_conv_and_norm(modules: Iterable[nn.Module]) -> int:
    """From now on, modules run each convolution and the BatchNorm behind it as one, while the norm is in eval mode.

    It is mmengine's ``efficient_conv_bn_eval``, part by part: the norm's factor goes into the convolution's weight
    (https://arxiv.org/abs/2305.11624). Results are the same up to rounding. Norms in training mode run as they did,
    and so do modules that are evaluated.

    Args:
        modules (Iterable[nn.Module]): The modules. Those that torch.fx cannot trace stay as they are,
            and the log says so.

    Returns:
        int: How many modules run otherwise now.
    """
    changed = 0
    for module in modules:
        if not has_norm_in_eval(module) or isinstance(module, _BatchNorm):
            continue
        plain = module.forward
        try:
            turn_on_efficient_conv_bn_eval_for_single_model(module)
        except Exception as error:  # whatever the module's own code raises on a traced input
            line = f'{type(error).__name__}: {" ".join(str(error).split())}'
            print_log(
                f'{type(module).__name__}: convolution and norm stay apart, because torch.fx cannot trace it ({line})',
                logger='current',
                level=logging.WARNING,
            )
            continue
        module.forward = _InOneWhileTraining(module, module.forward, plain)
        changed += 1
    return changed


class _InOneWhileTraining:
    """A module's forward: the traced one while the module trains, else its own.

    What torch.fx has traced knows one mode only: a dropout in it would go on in evaluation.

    Args:
        module (nn.Module): The module.
        joined (Callable): Its forward with convolution and norm in one.
        plain (Callable): Its own forward.
    """

    def __init__(self, module: nn.Module, joined: Callable, plain: Callable) -> None:
        self.module, self.joined, self.plain = module, joined, plain

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self.joined if self.module.training else self.plain)(*args, **kwargs)


def has_norm_in_eval(module: nn.Module) -> bool:
    """Whether there is a BatchNorm in eval mode in a module that trains, or is about to."""
    return any(isinstance(m, _BatchNorm) and not m.training and m.track_running_stats for m in module.modules())
