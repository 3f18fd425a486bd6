"""What a checkpoint's local part means for the blocks that are here (contract 3)."""

import logging
import re
from collections.abc import Iterable
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mmman.partition import Block

from .local_branch import LocalBranch
from .local_learning import LocalLearning

PARTS = ('auxiliary', 'head')  # of a branch
NUMBERED = re.compile(r'block\d+')  # how branches were named up to version 0.1


def local_prefixes(keys: Iterable[str]) -> tuple[str, ...]:
    """Find what local learning added to a state dict: the prefixes (``'backbone.local.'``) that it lies under.

    A module of another model that is called ``local``, too, is told by what lies in it.

    Args:
        keys (Iterable[str]): The state dict's keys.
    """
    found = (re.match(rf'((?:.*?\.)?local\.)\w+\.(?:{"|".join(PARTS)})\.', key) for key in keys)
    return tuple({match.group(1) for match in found if match})


def complete_local_state(local: LocalLearning, state_dict: dict[str, Any], prefix: str) -> None:
    """Let a state dict say for every branch what it starts from, in place.

    A branch is named by the segment that it stands at. What was saved for the same segment, of the same shapes, stays.
    Otherwise, and from a plain checkpoint, learnable bias and EMA are copies of the weights that are being loaded for
    the segments that they copy; a local head stays as it was initialised. What was saved for segments at which no block
    ends is dropped, as are the numbered branches of version 0.1, which do not say where they stood. One line in the log
    names the blocks that start anew.

    Args:
        local (LocalLearning): The blocks.
        state_dict (dict): The state that is about to be loaded.
        prefix (str): Where the backbone lies in it, as ``'backbone.'``.
    """
    own = f'{prefix}local.'
    saved = {key.removeprefix(own).split('.')[0] for key in state_dict if key.startswith(own)}
    anew = []
    for block in local.blocks[:-1]:
        sources = [
            _as_loaded(module, state_dict, f'{prefix}{segment.name}.')
            for module, segment in zip(local.next_segments(block), local.blocks[block.index].segments, strict=True)
        ]
        if not _complete_branch(local.branch(block), state_dict, f'{own}{block.place}.', sources):
            anew.append(block)
    for key in [key for key in state_dict if key.startswith(own) and key.removeprefix(own).split('.')[0] not in local]:
        del state_dict[key]
    if saved and anew:
        _say(anew, saved)


def _as_loaded(module: nn.Module, state_dict: dict[str, Any], prefix: str) -> dict[str, Tensor] | None:
    """The state that a module will have when it is loaded; None if nothing of it is."""
    state = module.state_dict()
    loaded = {
        key: state_dict[prefix + key]
        for key, value in state.items()
        if prefix + key in state_dict and state_dict[prefix + key].shape == value.shape
    }
    return {**state, **loaded} if loaded else None


def _complete_branch(
    branch: LocalBranch, state_dict: dict[str, Any], own: str, source_states: list[dict[str, Tensor] | None]
) -> bool:
    """Returns whether all of the branch was saved."""
    expected = branch.state_dict()
    whole = True
    for part in PARTS:
        shapes = {key: value.shape for key, value in expected.items() if key.startswith(f'{part}.')}
        found = {k.removeprefix(own): k for k in state_dict if k.startswith(f'{own}{part}.')}
        if {key: state_dict[k].shape for key, k in found.items()} == shapes:
            continue
        whole = False
        for key in found.values():
            del state_dict[key]
        if part == 'auxiliary' and all(source_states):
            start = branch.start_state(source_states)
            state_dict.update({own + key: value for key, value in start.items()})
    return whole


def _say(anew: list[Block], saved: set[str]) -> None:
    why = 'it has none for these layers'
    if any(NUMBERED.fullmatch(name) for name in saved):
        why = 'it numbers its blocks, as version 0.1 did, and does not say where they end'
    print_log(
        f'LocalBackbone: auxiliary networks and local heads of {", ".join(map(str, anew))} start anew from the '
        f'weights of the checkpoint: {why} (but for {", ".join(sorted(saved))})',
        logger='current',
        level=logging.WARNING,
    )
