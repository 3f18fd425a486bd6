"""Necks and heads that leave the last block without a gradient, because what they see is detached (contract 1)."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .local_backbone import LocalBackbone

NOTHING = 'the last block would learn nothing'
OTHERWISE = 'end the blocks earlier (partition.ends), or ask for fewer blocks (partition.num_blocks)'


def check_heads(model: nn.Module, backbone: LocalBackbone) -> None:
    """Refuse a model whose loss would not reach the last block, and name heads that train nothing but themselves.

    Outputs of blocks 1..K-1 are detached: a loss on them alone teaches the backbone nothing. That is so where the
    backbone's ``out_indices`` leave out the last block's output, where the neck does, or where the heads of a segmentor
    do, whose ``in_index`` names what they see. Where another head sees the last block, such a head may stay: it still
    learns itself, and its weights belong to the checkpoint.

    What other heads see is not known before the first step, where :func:`mmman.optim.block_update.check_learns` looks.

    Args:
        model (nn.Module): The model.
        backbone (LocalBackbone): Its backbone.

    Raises:
        ValueError: If the last block would learn nothing.
    """
    num_blocks = len(backbone.local.blocks)
    outputs = _example_outputs(backbone)
    detached = backbone.local.detached_outputs
    # What is behind all segments, as VGG's classifier, belongs to the last block.
    detached += [False] * (len(outputs) - len(detached))
    if all(detached):
        raise ValueError(
            f'{NOTHING}: all outputs of {type(backbone).__name__} (out_indices={backbone.out_indices}) are those of '
            f'blocks 1 to {num_blocks - 1} of {num_blocks}, which are detached. Add the last output to out_indices, '
            f'{OTHERWISE}'
        )
    neck = getattr(model, 'neck', None)
    if neck is not None:
        detached = _detached_behind(neck, outputs, detached)
        if detached is None:
            return
        if all(detached):
            raise ValueError(
                f'{NOTHING}: the neck ({type(neck).__name__}) makes nothing of its output. Let the neck use it (levels '
                f'that start and end elsewhere), {OTHERWISE}'
            )
    for name in ('decode_head', 'auxiliary_head'):
        _check_segmentation_heads(name, getattr(model, name, None), detached, num_blocks)


def _check_segmentation_heads(name: str, heads: nn.Module | None, detached: list[bool], num_blocks: int) -> None:
    heads = list(heads) if isinstance(heads, nn.ModuleList) else [heads]
    cut_off = [head for head in heads if _sees_detached_only(head, detached)]
    for head in cut_off:
        what = (
            f'{name} ({type(head).__name__}, in_index={head.in_index}) sees features of blocks 1 to {num_blocks - 1} '
            f'of {num_blocks} alone, which are detached'
        )
        if name == 'decode_head' and len(cut_off) == len(heads):
            raise ValueError(f'{what}: {NOTHING}. Let it see the last output, or end the blocks earlier')
        drop = ', or drop the head (auxiliary_head=None)' if name == 'auxiliary_head' else ''
        print_log(
            f'{what}: its loss trains the head itself, not the backbone. End the last block but one before that '
            f'feature (partition.ends) to give it to the last block{drop}',
            logger='current',
            level=logging.WARNING,
        )


@torch.no_grad()
def _example_outputs(backbone: LocalBackbone) -> Sequence[Any]:
    with _evaluating(backbone):
        outputs = backbone(backbone.local.family.example_input(backbone))
    return outputs if isinstance(outputs, (list, tuple)) else [outputs]


def _detached_behind(neck: nn.Module, outputs: Sequence[Any], detached: list[bool]) -> list[bool] | None:
    """Of each of the neck's outputs, whether it depends on detached outputs of the backbone alone.

    None if the neck does not run on the example: its images may be too small for it, or it takes more than features.
    """
    last = [x for x, is_detached in zip(outputs, detached, strict=True) if not is_detached]
    last = [tensor.requires_grad_() for tensor in tree_leaves(last)]
    with _evaluating(neck), torch.enable_grad():
        try:
            maps = neck(outputs)
        except Exception:  # whatever the neck raises: the first step tells
            return None
    maps = maps if isinstance(maps, (list, tuple)) else [maps]
    return [not any(_depends_on(x, last) for x in tree_leaves(each)) for each in maps]


def _depends_on(output: Tensor, inputs: list[Tensor]) -> bool:
    if not output.requires_grad:
        return False
    grads = torch.autograd.grad(output.sum(), inputs, retain_graph=True, allow_unused=True)
    return any(grad is not None for grad in grads)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, a module and all within it are in evaluation mode: nothing random, and no statistics move."""
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, training in modes.items():
            each.training = training


def _sees_detached_only(head: nn.Module | None, detached: list[bool]) -> bool:
    in_index = getattr(head, 'in_index', None)
    if in_index is None:
        return False
    return all(detached[i] for i in (in_index if isinstance(in_index, (list, tuple)) else [in_index]))
