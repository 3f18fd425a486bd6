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

    A branch is named by the segment that it stands at. Of its two parts, auxiliary network and local head, each stays
    as it was saved for the same segment and with the same shapes. Otherwise, and from a plain checkpoint, the auxiliary
    network's copies are those of the weights that are being loaded for the segments that they copy, and a local head
    stays as it was initialised. What was saved for segments at which no block ends is dropped, as are the numbered
    branches of version 0.1, which do not say where they stood. One line in the log names what starts anew.

    Args:
        local (LocalLearning): The blocks.
        state_dict (dict): The state that is about to be loaded.
        prefix (str): Where the backbone lies in it, as ``'backbone.'``.
    """
    own = f'{prefix}local.'
    saved = {key.removeprefix(own).split('.')[0] for key in state_dict if key.startswith(own)}
    anew: dict[str, list[Block]] = {part: [] for part in PARTS}
    for block in local.blocks[:-1]:
        branch, place = local.branch(block), f'{own}{block.place}.'
        if branch.auxiliary is not None:
            branch.auxiliary.upgrade_state(state_dict, f'{place}auxiliary.')
        for part in PARTS:
            if not _fits(branch, part, state_dict, place):
                anew[part].append(block)
        if block in anew['auxiliary']:
            state_dict.update(_start_state(local, block, state_dict, prefix))
    for key in [key for key in state_dict if key.startswith(own) and key.removeprefix(own).split('.')[0] not in local]:
        del state_dict[key]
    if saved and any(anew.values()):
        _say(anew, saved)


def _fits(branch: LocalBranch, part: str, state_dict: dict[str, Any], place: str) -> bool:
    """Whether all of a part was saved. If not, what there is of it is dropped: nothing is loaded by half."""
    expected = {f'{place}{key}': value for key, value in branch.state_dict().items() if key.startswith(f'{part}.')}
    found = {key: value for key, value in state_dict.items() if key.startswith(f'{place}{part}.')}
    if expected.keys() == found.keys() and all(_alike(found[key], expected[key]) for key in expected):
        return True
    for key in found:
        del state_dict[key]
    return not expected


def _start_state(local: LocalLearning, block: Block, state_dict: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """What a branch's auxiliary network starts from, where the state dict has weights of what it copies."""
    branch, sources = local.branch(block), local.next_segments(block)
    # A source may be put together of several submodules: its tensors tell what they are called in the backbone.
    names = {id(tensor): prefix + key for key, tensor in local.backbone.state_dict(keep_vars=True).items()}
    loaded = [_loaded(source, names, state_dict) for source in sources]
    copied = branch.auxiliary.copies().values() if branch.auxiliary is not None else ()
    if not any(loaded[i] for i in copied):
        return {}
    # What is not loaded stays as it is.
    states = [{**source.state_dict(), **found} for source, found in zip(sources, loaded, strict=True)]
    # Tensors of their own: with `assign=True` they become the parameters.
    return {f'{prefix}local.{block.place}.{k}': v.clone() for k, v in branch.start_state(states).items()}


def _loaded(module: nn.Module, names: dict[int, str], state_dict: dict[str, Any]) -> dict[str, Tensor]:
    """What a module will load of a state dict; ``names`` are those of tensors there, by their id."""
    return {
        key: state_dict[name]
        for key, value in module.state_dict(keep_vars=True).items()
        if (name := names.get(id(value))) in state_dict and _alike(state_dict[name], value)
    }


def _alike(found: Any, expected: Any) -> bool:
    return getattr(found, 'shape', None) == getattr(expected, 'shape', None)


def _say(anew: dict[str, list[Block]], saved: set[str]) -> None:
    both = [block for block in anew['auxiliary'] if block in anew['head']]
    what = ', and '.join(
        f'{names} of {", ".join(map(str, blocks))}'
        for names, blocks in (
            ('auxiliary networks and local heads', both),
            ('auxiliary networks', [block for block in anew['auxiliary'] if block not in both]),
            ('local heads', [block for block in anew['head'] if block not in both]),
        )
        if blocks
    )
    why = f'has none that fit these layers (it has {", ".join(sorted(saved))})'
    if any(NUMBERED.fullmatch(name) for name in saved):
        why = (
            'numbers its blocks, as version 0.1 did, and does not say where they end; '
            'tools/model_converters/upgrade_checkpoint.py tells by the config that it was trained with'
        )
    print_log(
        f'LocalBackbone: {what} start anew: the checkpoint {why}',
        logger='current',
        level=logging.WARNING,
    )
