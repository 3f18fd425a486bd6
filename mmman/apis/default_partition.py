"""Where the blocks end unless somebody says: by stage, so that every block learns something."""

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmman.partition import BackboneFamily, Segment, make_blocks


def choose_partition(
    family: BackboneFamily, backbone: nn.Module, num_blocks: int, model: Mapping[str, Any]
) -> dict[str, Any]:
    """By stage; the last block begins early enough to make what mmseg's auxiliary heads see, if it can.

    Args:
        family (BackboneFamily): The backbone's family.
        backbone (nn.Module): The backbone, with the stages frozen that its config freezes.
        num_blocks (int): K; fewer where there are fewer stages, or fewer that learn, with a line in the log.
        model (Mapping): The model's config.

    Returns:
        dict: Arguments of :func:`mmman.partition.make_blocks`.

    Raises:
        ValueError: If there would not be two blocks that learn.
    """
    segments = family.segments(backbone)
    stages = list(dict.fromkeys(segment.stage for segment in segments))
    learning = [i for i, segment in enumerate(segments) if _learns(family, backbone, segment)]
    if len(learning) < 2:
        raise ValueError(f'{type(backbone).__name__} has {len(learning)} segment(s) that learn, two are the least')
    if len({segments[i].stage for i in learning}) < 2:
        end = segments[learning[len(learning) // 2 - 1]].name
        _warn(
            f'one stage of {type(backbone).__name__} learns ({segments[learning[0]].stage}), so there are 2 blocks, '
            f'and the first ends inside of it, at {end}'
        )
        return dict(ends=[end])
    if num_blocks > len(stages):
        _warn(
            f'{type(backbone).__name__} has {len(stages)} stages ({", ".join(stages)}), so there are {len(stages)} '
            f'blocks, not {num_blocks}'
        )
        num_blocks = len(stages)
    if num_blocks < 2:
        raise ValueError(f'{num_blocks} block is what end to end does: two are the least')
    blocks = make_blocks(segments, num_blocks)
    seen = _seen_by_auxiliary_heads(family, backbone, model)
    start = sum(len(block.segments) for block in blocks[:-1])  # of the last block
    before = start - len(blocks[-2].segments)
    if seen is None or seen >= start:
        return dict(num_blocks=num_blocks)
    if seen <= before:
        return dict(num_blocks=num_blocks)  # too far away: the head trains itself, which check_heads says
    end = segments[(before + seen - 1) // 2].name
    return dict(ends=[*(block.segments[-1].stage for block in blocks[:-2]), end])


def _warn(text: str) -> None:
    print_log(f'localize: {text}', logger='current', level=logging.WARNING)


def _learns(family: BackboneFamily, backbone: nn.Module, segment: Segment) -> bool:
    return any(param.requires_grad for param in family.parameters(backbone, segment))


def _seen_by_auxiliary_heads(family: BackboneFamily, backbone: nn.Module, model: Mapping[str, Any]) -> int | None:
    """The number of the segment that makes the deepest feature of the auxiliary heads; None without such a feature."""
    heads = model.get('auxiliary_head') or []
    heads = [heads] if isinstance(heads, Mapping) else heads
    if model.get('neck') is not None or not all(isinstance(head.get('in_index'), int) for head in heads):
        return None
    closing = {segment.closes: i for i, segment in enumerate(family.segments(backbone)) if segment.closes is not None}
    sources = list(family.sources_of_outputs(backbone))
    made = [max((closing[key] for key in sources[head['in_index']]), default=0) for head in heads]
    return max(made, default=None)
