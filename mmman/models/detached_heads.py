"""Heads of a segmentor whose loss ends at a detached feature (contract 1)."""

import logging

from mmengine.logging import print_log
from torch import nn

from .local_backbone import LocalBackbone


def check_heads(model: nn.Module, backbone: LocalBackbone) -> None:
    """Say which auxiliary heads train nothing but themselves, and refuse a main head that leaves the last block alone.

    A segmentor of mmseg names by ``in_index`` which of the backbone's outputs a head sees. Those of blocks 1..K-1 are
    detached: a loss on them alone teaches the backbone nothing. The head itself still learns, and its weights belong to
    the checkpoint, so an auxiliary head may stay.

    Args:
        model (nn.Module): The model.
        backbone (LocalBackbone): Its backbone.

    Raises:
        ValueError: If the decode head sees detached features only.
    """
    if getattr(model, 'neck', None) is not None:
        return  # it may mix the outputs; what it is given then is not known here
    for name in ('decode_head', 'auxiliary_head'):
        heads = getattr(model, name, None)
        for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
            if not _sees_detached_only(head, backbone.local.detached_outputs):
                continue
            what = (
                f'{name} ({type(head).__name__}, in_index={head.in_index}) sees features of blocks 1 to '
                f'{len(backbone.local.blocks) - 1} of {len(backbone.local.blocks)} alone, which are detached'
            )
            if name == 'decode_head':
                raise ValueError(
                    f'{what}: the last block would learn nothing. Let it see the last output, or end the blocks earlier'
                )
            print_log(
                f'{what}: its loss trains the head itself, not the backbone. End the last block but one before that '
                'feature (partition.ends) to give it to the last block, or drop the head (auxiliary_head=None)',
                logger='current',
                level=logging.WARNING,
            )


def _sees_detached_only(head: nn.Module | None, detached: list[bool]) -> bool:
    in_index = getattr(head, 'in_index', None)
    if in_index is None:
        return False
    return all(detached[i] for i in (in_index if isinstance(in_index, (list, tuple)) else [in_index]))
