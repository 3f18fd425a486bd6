"""From any config to one of local learning."""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn

from mmman.models import LocalBackbone
from mmman.partition import BackboneFamily, family_of, make_blocks
from mmman.registry import MODELS
from mmman.toolboxes import register_toolbox, toolbox_of, type_name

from .complete import complete_config
from .default_heads import light_heads

MAN_PLUS_PLUS = dict(type='mmman.MomentumAuxiliary', momentum=0.995)
# Where models have their backbone: parts that hold another model, and the names of the backbone itself.
HOLDERS = ('detector', 'model', 'module')
BACKBONES = ('backbone', 'image_encoder')


class NotLocalizableError(ValueError):
    """A config that cannot be turned into one of local learning; the message is one line with the next thing to try."""


def localize(
    cfg: Config,
    num_blocks: int | None = None,
    partition: dict[str, Any] | None = None,
    auxiliary: dict[str, Any] | None = MAN_PLUS_PLUS,
    local_head: dict[str, Any] | list[dict[str, Any]] | None = None,
) -> Config:
    """Turn a config into one of local learning (contract 10).

    The result is an ordinary config: it can be dumped, inherited and read. Optimizer, schedules, hooks, classes, frozen
    stages and pretrained weights stay.

    Args:
        cfg (Config): A config of mmdet, mmseg or mmpretrain, of text or lazy. It stays as it is.
        num_blocks (int, optional): K, by stage. Fewer where the backbone has fewer stages, with a line in the log.
            Defaults to 4.
        partition (dict, optional): Where to cut, in the place of ``num_blocks``: see
            :func:`mmman.partition.make_blocks`.
        auxiliary (dict, optional): Config of the auxiliary networks; None for the plain host method. Defaults to MAN++.
        local_head (dict | list[dict], optional): Config of the local heads. Defaults to light ones for what the model
            learns: see :func:`light_heads`.

    Returns:
        Config: The new config.

    Raises:
        NotLocalizableError: If there is no backbone, if it cannot be cut, or if no local head fits.
    """
    if num_blocks is not None and partition is not None:
        raise NotLocalizableError(f'give num_blocks={num_blocks} or partition={partition}, not both')
    scope = toolbox_of(cfg)
    register_toolbox(scope)
    cfg = copy.deepcopy(cfg)
    with DefaultScope.overwrite_default_scope(scope):
        holder, key = find_backbone(cfg.get('model'))
        plain = holder[key]
        model = _inner_model(cfg.model)
        try:
            backbone = MODELS.build(without_weights(plain))
            family = family_of(backbone)
            if partition is None:
                partition = _choose_partition(family, backbone, num_blocks or 4, model)
            make_blocks(family.segments(backbone), **partition)
            heads = [local_head] if local_head is not None else light_heads(model)
            chosen = _first_that_fits(plain, partition, auxiliary, heads)
        except (TypeError, ValueError, KeyError) as error:
            raise NotLocalizableError(f'local learning does not fit this config: {_one_line(error)}') from error
    holder[key] = ConfigDict(
        type='mmman.LocalBackbone', backbone=plain, partition=partition, auxiliary=auxiliary, local_head=chosen
    )
    imports = cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    names = imports['imports'] if isinstance(imports['imports'], list) else [imports['imports']]
    cfg.custom_imports = dict(imports) | dict(imports=[*(n for n in names if n != 'mmman'), 'mmman'])
    cfg.model_wrapper_cfg = dict(type='mmman.LocalDistributedDataParallel', **_wrapper_options(cfg))
    return complete_config(cfg)


def find_backbone(model: Mapping[str, Any] | None) -> tuple[Any, str | int]:
    """Find the backbone in a model's config.

    Args:
        model (Mapping, optional): The model's config.

    Returns:
        tuple: The dict or list that holds it, and its key there.

    Raises:
        NotLocalizableError: If there is none.
    """
    model = _inner_model(model or {})
    for key in BACKBONES:
        found = model.get(key)
        if isinstance(found, (list, tuple)) and found and isinstance(found[0], Mapping):
            return found, 0
        if isinstance(found, Mapping) and found.get('type') is not None:
            if type_name(found['type']) == 'LocalBackbone':
                raise NotLocalizableError(f'model.{key} is a LocalBackbone already: train this config as it is')
            return model, key
    parts = ', '.join(name for name, part in model.items() if isinstance(part, Mapping)) or 'nothing'
    raise NotLocalizableError(
        f'{type_name(model.get("type")) or "the model"} has no backbone (it has {parts}): write one with '
        "type='mmman.LocalBackbone' yourself"
    )


def _inner_model(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model that has the backbone: a tracker's detector, the one that a semi-supervised detector teaches."""
    for holder in HOLDERS:
        inner = model.get(holder)
        if isinstance(inner, Mapping) and not any(key in model for key in BACKBONES):
            return _inner_model(inner)
    return model


def without_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a backbone that loads no pretrained weights."""
    config = {key: value for key, value in copy.deepcopy(dict(config)).items() if key != 'pretrained'}
    if isinstance(config.get('init_cfg'), Mapping) and type_name(config['init_cfg'].get('type')) == 'Pretrained':
        config['init_cfg'] = None
    return config


def _choose_partition(
    family: BackboneFamily, backbone: nn.Module, num_blocks: int, model: Mapping[str, Any]
) -> dict[str, Any]:
    """By stage; the last block begins early enough to make what mmseg's auxiliary heads see, if it can."""
    segments = family.segments(backbone)
    stages = list(dict.fromkeys(segment.stage for segment in segments))
    if num_blocks > len(stages):
        print_log(
            f'localize: {type(backbone).__name__} has {len(stages)} stages ({", ".join(stages)}), so there are '
            f'{len(stages)} blocks, not {num_blocks}',
            logger='current',
            level=logging.WARNING,
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


def _first_that_fits(
    backbone: Mapping[str, Any],
    partition: dict[str, Any],
    auxiliary: dict[str, Any] | None,
    heads: Sequence[Any],
) -> Any:
    """The first of some configs of local heads that can be built at the ends of the blocks."""
    errors = []
    for head in heads:
        try:
            LocalBackbone(MODELS.build(without_weights(backbone)), partition, copy.deepcopy(head), auxiliary)
        except ValueError as error:
            errors.append(error)
            continue
        if errors:
            print_log(f'localize: another local head is taken, because {_one_line(errors[-1])}', logger='current')
        return head
    raise errors[0]


def _wrapper_options(cfg: Config) -> dict[str, Any]:
    """What a config's model wrapper is told."""
    own = cfg.get('model_wrapper_cfg')
    if own is None:
        unused = cfg.get('find_unused_parameters')
        return {} if unused is None else dict(find_unused_parameters=unused)
    kind = type_name(own.get('type'))
    if kind not in ('MMDistributedDataParallel', 'LocalDistributedDataParallel'):
        raise NotLocalizableError(
            f'model_wrapper_cfg is {kind}: blocks train in mmman.LocalDistributedDataParallel, leave it out'
        )
    return {key: value for key, value in own.items() if key != 'type'}


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
