"""Upgrade a training checkpoint of version 0.1, whose blocks are numbered, so that a run can go on from it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor

from mmman.models import LocalBackbone, find_local_backbone
from mmman.optim.optimizer_states import entries_like_parameters
from mmman.toolboxes import register_toolbox

from .publish import load_checkpoint

BRANCH = re.compile(r'((?:.*\.)?local\.)(block\d+)\.')


def upgrade_checkpoint(config: str | Path | Config, old: str | Path, new: str | Path) -> list[str]:
    """Name what is local by the segment it stands at, and give the scales s their dimension.

    Both the model's state and ``EMAHook``'s are upgraded, and the optimizers' states of the scales; the rest stays.

    Args:
        config (str | Path | Config): The config that the checkpoint was trained with: it says where the blocks end.
        old (str | Path): The checkpoint.
        new (str | Path): The file to write.

    Returns:
        list[str]: What was renamed, as ``'block1 -> layer1_1'``.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If the checkpoint is not of version 0.1, or of other blocks than the config's.
    """
    if Path(new).resolve() == Path(old).resolve():
        raise ValueError(f"the upgraded checkpoint would replace '{old}': name another file")
    checkpoint = load_checkpoint(Path(old))
    backbone = _build_backbone(config)
    local = backbone.local
    for name in ('state_dict', 'ema_state_dict'):
        if name in checkpoint:
            checkpoint[name] = _upgrade_state(backbone, checkpoint[name], f"{name} of '{old}'")
    for optimizer in _optimizers(checkpoint):
        _upgrade_optimizer(optimizer)
    torch.save(checkpoint, new)
    return [f'{block.name} -> {block.place}' for block in local.blocks[:-1]]


def _build_backbone(config: str | Path | Config) -> LocalBackbone:
    cfg = config if isinstance(config, Config) else Config.fromfile(config)
    scope = cfg.get('default_scope', 'mmengine')
    register_toolbox(scope)
    with DefaultScope.overwrite_default_scope(scope):
        return find_local_backbone(MODELS.build(cfg.model))


def _upgrade_state(backbone: LocalBackbone, state_dict: Mapping[str, Any], what: str) -> dict[str, Any]:
    local = backbone.local
    places = {block.name: block.place for block in local.blocks[:-1]}
    matches = [match for match in map(BRANCH.match, state_dict) if match]
    found = {match.group(2) for match in matches}
    if not found:
        raise ValueError(f'{what} has no numbered blocks, as version 0.1 wrote them: there is nothing to upgrade')
    if found != places.keys():
        raise ValueError(
            f'{what} has auxiliary networks and local heads for {len(found)} block(s), the config for {len(places)}: '
            'give the config that it was trained with'
        )
    (prefix,) = {match.group(1) for match in matches}
    renamed = type(state_dict)()
    for key, value in state_dict.items():
        match = BRANCH.match(key)
        renamed[f'{prefix}{places[match.group(2)]}.{key[match.end() :]}' if match else key] = value
    if hasattr(state_dict, '_metadata'):
        renamed._metadata = state_dict._metadata
    for block in local.blocks[:-1]:
        branch, own = local.branch(block), f'{prefix}{block.place}.'
        if branch.auxiliary is not None:
            branch.auxiliary.upgrade_state(renamed, f'{own}auxiliary.')
        shapes = {key.removeprefix(own): value.shape for key, value in renamed.items() if key.startswith(own)}
        if shapes != {key: value.shape for key, value in branch.state_dict().items()}:
            raise ValueError(
                f'{what} has another auxiliary network or local head at {block} than the config: give the config that '
                'it was trained with'
            )
    return renamed


def _optimizers(checkpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The states of the blocks' optimizers, if the checkpoint has any."""
    states = checkpoint.get('optimizer', {})
    return [state for state in states.values() if isinstance(state, dict) and 'state' in state]


def _upgrade_optimizer(optimizer: dict[str, Any]) -> None:
    """Give what is kept of a scale its dimension: all that for other parameters has their dimensions."""
    names = entries_like_parameters(optimizer)
    for state in optimizer['state'].values():
        for key in names & state.keys():
            if isinstance(state[key], Tensor) and state[key].dim() == 0:
                state[key] = state[key].reshape(1)
