"""Proof that a family takes a backbone apart rightly (contract 11)."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves

from .chains import find_chain
from .families import FAMILIES, BackboneFamily, ChainFamily

SEED = 0
SIDE = 64  # pixels: small, so that the proof is cheap


def family_of(backbone: nn.Module) -> BackboneFamily:
    """Find the family that takes a backbone apart, and prove that it does so rightly.

    Args:
        backbone (nn.Module): A backbone of mmdet, mmseg or mmpretrain. It does not change.

    Returns:
        BackboneFamily: The first family that is proven, of those that claim the backbone's class and, if there are none
        such, of the chain that its submodules may form.

    Raises:
        TypeError: If no family claims it, or none that does is proven; see :func:`prove`.
    """
    refusals = []
    for family in _candidates(backbone):
        try:
            prove(family, backbone)
        except TypeError as refusal:
            refusals.append(refusal)
        else:
            return family
    if refusals:
        raise refusals[0]
    raise TypeError(
        f'{type(backbone).__module__}.{type(backbone).__name__} cannot be cut into blocks; supported: '
        + '; '.join(family.describe() for family in (*FAMILIES, ChainFamily))
        + '. A new family is one small file in mmman/partition/families'
    )


def _candidates(backbone: nn.Module) -> Iterator[BackboneFamily]:
    yield from (family() for family in reversed(FAMILIES) if family.supports(backbone))
    device = next((p.device for p in backbone.parameters()), torch.device('cpu'))
    with _repeatable(device):
        chain = find_chain(backbone)
    if chain is not None:
        yield chain


def prove(family: BackboneFamily, backbone: nn.Module) -> None:
    """Refuse a backbone that is not its family's segments one after the other.

    On random images, in evaluation and, with the same random numbers, in training mode, running the segments has to
    give what the backbone's own forward pass gives and to leave the same buffers, to the last bit. Everything runs on
    copies: neither the backbone nor a generator of random numbers changes.

    Args:
        family (BackboneFamily): The family that is to take it apart.
        backbone (nn.Module): The plain backbone.

    Raises:
        TypeError: If the outputs or the buffers differ, or cannot be had, or if what a segment gives is no tensor.
    """
    with _refusing(backbone, 'it cannot be copied and run on images alone'):
        run = partial(_run_in_both_modes, backbone, {id(p): _stand_in(p) for p in backbone.parameters()})
        example = family.example_input(backbone)
        try:
            images = example[..., :SIDE, :SIDE]
            expected = run(images, lambda module, x: module(x))
        except Exception:  # some take images of one size only
            images = example
            expected = run(images, lambda module, x: module(x))
    if not all(any(isinstance(output, Tensor) for output in tree_leaves(outputs)) for outputs, _ in expected):
        raise _refusal(backbone, 'its forward pass returns no tensor')
    with _refusing(backbone, f'its forward pass is not the segments of {type(family).__name__} one after the other'):
        found = run(images, partial(_run_segments, family))
    for mode, a, b in zip(('evaluation', 'training'), expected, found, strict=True):
        if not _same(a, b):
            raise _refusal(backbone, f'in {mode} mode its forward pass is not its segments one after the other')


def _refusal(backbone: nn.Module, reason: str) -> TypeError:
    return TypeError(
        f'{type(backbone).__module__}.{type(backbone).__name__} cannot be cut into blocks: {reason}. Train it end to '
        'end, or write a family for it (one small file in mmman/partition/families)'
    )


@contextmanager
def _refusing(backbone: nn.Module, reason: str) -> Iterator[None]:
    """Turn what goes wrong inside into one line: what a foreign backbone does can fail in any way."""
    try:
        yield
    except Exception as error:
        text = ' '.join(str(error).split())
        text = text if len(text) < 200 else f'{text[:200]}...'
        raise _refusal(backbone, f'{reason} ({type(error).__name__}: {text})') from error


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


@torch.no_grad()
def _stand_in(param: nn.Parameter) -> nn.Parameter:
    """What takes a parameter's place in the copies: the same values, in the same memory.

    Values that are all alike get noise: a gate that starts at zero would hide what it lets through once it has learned.
    """
    value = param.detach()
    if value.is_floating_point() and value.numel() and bool((value == value.flatten()[0]).all()):
        fan_in = value[0].numel() if value.dim() > 1 else 1
        value = value + torch.randn(value.shape, generator=_generator()).to(value) * 0.1 / fan_in**0.5
    return nn.Parameter(value, requires_grad=False)


def _run_in_both_modes(
    backbone: nn.Module,
    stand_ins: dict[int, nn.Parameter],
    example: Tensor,
    forward: Callable[[nn.Module, Tensor], Any],
) -> list[tuple[Any, list[Tensor]]]:
    """Run a copy on random images, in evaluation and in training mode.

    Returns:
        list[tuple]: For each mode, what the forward pass returns and the buffers afterwards.
    """
    # Torch has SyncBN for GPUs only, and it would wait for other processes.
    module = revert_sync_batchnorm(copy.deepcopy(backbone, dict(stand_ins)))
    results = []
    for training in (False, True):
        module.train(training)
        # BatchNorm in training mode takes no single value for a channel.
        shape = (2 if training else 1, *example.shape[1:])
        images = torch.rand(shape, generator=_generator()).to(example)
        with torch.no_grad(), _repeatable(images.device):
            outputs = forward(module, images)
        results.append((outputs, [buffer.clone() for buffer in module.buffers()]))
    return results


def _run_segments(family: BackboneFamily, backbone: nn.Module, x: Tensor) -> Any:
    images, features = x, {}
    for segment in family.segments(backbone):
        x = family.run(backbone, segment, x)
        if not isinstance(seen := family.feature(x), Tensor):
            raise TypeError(f'{segment.name} gives a {type(seen).__name__}, not a tensor')
        if segment.closes is not None:
            features[segment.closes] = x
    return family.outputs(backbone, features, x, images)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Inside, random numbers and kernels are the same every time; afterwards all generators are as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        # Not torch.manual_seed: it seeds every GPU, and one that is not in use yet as soon as it is.
        stack.enter_context(torch.random.fork_rng([device] if device.type == 'cuda' else []))
        torch.default_generator.manual_seed(SEED)
        if device.type == 'cuda':
            torch.cuda.default_generators[device.index].manual_seed(SEED)
            cudnn = torch.backends.cudnn
            stack.enter_context(cudnn.flags(cudnn.enabled, deterministic=True, allow_tf32=cudnn.allow_tf32))
        random.seed(SEED)
        np.random.seed(SEED)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _same(expected: Any, found: Any) -> bool:
    (expected, structure), (found, found_structure) = tree_flatten(expected), tree_flatten(found)
    return structure == found_structure and all(
        _same_tensor(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a is b or a == b
        for a, b in zip(expected, found, strict=True)
    )


def _same_tensor(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal to the last bit, NaNs too: ConvAWS gives them until weights are loaded."""
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
