"""Heads of the toolboxes inside of local heads: built, and tried once before training begins."""

import copy
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmman.registry import MODELS
from mmman.toolboxes import type_name

from .batch_norm import take_one_value

Losses = dict[str, Tensor | Sequence[Tensor]]


class Trial(NamedTuple):
    """How a head is tried.

    Args:
        feature (Tensor): An example of what it is to be given.
        loss (Callable): Given the head, a feature and data samples, its losses.
        samples (Callable): Given the head and a device, data samples with a target for the feature.
        gives (str): What the feature is, for error messages.
        takers (str): Heads that fit, for error messages.
    """

    feature: Tensor
    loss: Callable[[nn.Module, Tensor, list[Any]], Losses]
    samples: Callable[[nn.Module, torch.device], list[Any]]
    gives: str
    takers: str


def build_head(owner: str, head: dict, filled_in: dict[str, Any], trial: Trial) -> nn.Module:
    """Build a toolbox's head, and refuse one that cannot learn behind one block.

    The trial changes neither parameters nor buffers, and puts the random numbers back.

    Args:
        owner (str): Name of the local head, for error messages.
        head (dict): Config of the head.
        filled_in (dict): What the local head adds to the config.
        trial (Trial): How to try it.

    Returns:
        nn.Module: The head. Its BatchNorm layers take a single value.

    Raises:
        ValueError: If the config is none of one head; or if the head cannot be built, gives no loss, gives no gradient
            to the feature, or has parameters that get none.
    """
    if not isinstance(head, dict) or 'type' not in head:
        what = f'a list of {len(head)}' if isinstance(head, (list, tuple)) else repr(head)
        raise ValueError(
            f"{owner}.head takes the config of one head, got {what}: write one out, as head=dict(type='...', ...)"
        )
    try:
        built = take_one_value(MODELS.build({**copy.deepcopy(dict(head)), **filled_in}))
        idle = _idle_parameters(built, trial)
    except Exception as error:
        # An assertion often has no text but its own.
        reason = ' '.join(str(error).split())[:300] or traceback.extract_tb(error.__traceback__)[-1].line
        raise _refusal(owner, head, trial, f'{type(error).__name__}: {reason}') from error
    if idle:
        raise _refusal(owner, head, trial, f'{", ".join(idle[:3])} would get no gradient')
    return built


def _refusal(owner: str, head: dict, trial: Trial, reason: str) -> ValueError:
    return ValueError(
        f'{owner} gives its head {trial.gives}, from which {type_name(head["type"])} cannot learn ({reason}): take '
        f'{trial.takers}'
    )


def _idle_parameters(head: nn.Module, trial: Trial) -> list[str]:
    """The names of the parameters, and of the feature, that the head's loss gives no gradient."""
    feature = trial.feature.detach().clone().requires_grad_()
    samples = trial.samples(head, feature.device)
    named = {'what the block gives it': feature, **dict(head.named_parameters())}
    learning = {name: tensor for name, tensor in named.items() if tensor.requires_grad}
    with _unchanged(head), torch.enable_grad():
        try:
            losses = trial.loss(head, feature, samples)
        except AttributeError as error:
            if any(error.obj is sample for sample in samples):
                return []  # it wants other targets than are known here: the training data may have them
            raise
        parts = [part for name, loss in losses.items() if 'loss' in name for part in _tensors(loss)]
        gradients = torch.autograd.grad(sum(part.sum() for part in parts), learning.values(), allow_unused=True)
    return [name for name, gradient in zip(learning, gradients, strict=True) if gradient is None]


def _tensors(loss: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [loss] if isinstance(loss, Tensor) else loss


@contextmanager
def _unchanged(head: nn.Module) -> Iterator[None]:
    """Inside, a head is in training mode and its norms in evaluation mode; afterwards all is as before."""
    # Not a copy: MultiTaskHead holds functions that are bound to its own parts, which a copy would go on to call.
    modes = {module: module.training for module in head.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in head.buffers()]
    device = next(chain(head.parameters(), head.buffers()), torch.empty(0)).device
    try:
        with torch.random.fork_rng([device] if device.type == 'cuda' else []):
            for module in head.modules():
                # SyncBN, of whatever library, would want a GPU and wait for other processes.
                module.training = 'BatchNorm' not in type(module).__name__
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for buffer, value in buffers:
            buffer.copy_(value)
