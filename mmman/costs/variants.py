"""Other ways to train the model of a local-learning config, for comparison: end to end, recomputed, in mixed precision.

Each function takes a config and returns a new one.
"""

import copy
import inspect

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import nn

from mmman.toolboxes import type_name

# The losses of a toolbox that have a lean twin.
LEAN = {
    ('mmdet', 'FocalLoss'): 'mmman.LeanFocalLoss',
    ('mmseg', 'CrossEntropyLoss'): 'mmman.LeanCrossEntropyLoss',
}

# With which arguments it does the same.
TAKES = {
    'mmman.LeanFocalLoss': dict(use_sigmoid=True, activated=False),
    'mmman.LeanCrossEntropyLoss': dict(use_sigmoid=False, use_mask=False),
}

# What follows the backbone and can be recomputed. A dense head of mmdet goes through the pyramid level by level.
NECK_AND_HEADS = ('neck', 'rpn_head.forward_single', 'bbox_head.forward_single', 'decode_head', 'auxiliary_head')


def end_to_end(cfg: Config) -> Config:
    """The config without local learning.

    Args:
        cfg (Config): A config whose backbone is a ``mmman.LocalBackbone``.

    Raises:
        ValueError: If there is no such backbone.
    """
    cfg = copy.deepcopy(cfg)
    backbone = cfg.model.backbone
    if type_name(backbone.type) != 'LocalBackbone':
        raise ValueError(
            f'the backbone is a {type_name(backbone.type)}, not a mmman.LocalBackbone: name a config of it'
        )
    cfg.model.backbone = backbone.backbone
    return plain_settings(cfg)


def plain_settings(cfg: Config) -> Config:
    """The config without what local learning sets beside the model: runner, wrapper, constructor, hook."""
    cfg = copy.deepcopy(cfg)
    wrapper = cfg.optim_wrapper
    if type_name(wrapper.get('constructor')) == 'LocalOptimWrapperConstructor':
        del wrapper.constructor
    if base := wrapper.pop('base_constructor', None):
        wrapper.constructor = base
    if type_name(cfg.get('runner_type')) == 'LocalRunner':
        cfg.pop('runner_type')
    cfg.pop('model_wrapper_cfg', None)
    cfg.custom_hooks = hooks_but(cfg, 'LocalLossHook')
    return cfg


def with_cp(cfg: Config) -> Config | None:
    """End to end with the backbone's own ``with_cp=True``; None where it has no such option."""
    cfg = end_to_end(cfg)
    kind, scope = cfg.model.backbone.type, cfg.get('default_scope')
    if isinstance(kind, str):
        kind = MMENGINE_MODELS.get(f'{scope}.{kind}' if scope and '.' not in kind else kind)
    if not any('with_cp' in inspect.signature(c.__init__).parameters for c in kind.__mro__ if c is not object):
        return None
    cfg.model.backbone.with_cp = True
    return cfg


def recompute_backbone(cfg: Config) -> Config:
    """End to end with lean losses, and the whole backbone recomputed, the stem too."""
    plain = lean_losses(end_to_end(cfg))
    plain.model.backbone = ConfigDict(
        type='mmman.LocalBackbone', backbone=plain.model.backbone, partition=dict(num_blocks=1), with_cp=True
    )
    return plain


def recompute_all(cfg: Config) -> Config:
    """End to end with lean losses and everything recomputed: stem, every unit, neck, head towers."""
    plain = recompute_backbone(cfg)
    if parts := neck_and_heads(plain.model):
        plain.custom_hooks = [*plain.custom_hooks, ConfigDict(type='mmman.RecomputeHook', parts=parts)]
    return plain


def neck_and_heads(model: dict | nn.Module) -> list[str]:
    """What of a model's neck and heads can be recomputed, as ``RecomputeHook.parts``.

    Args:
        model (dict | nn.Module): A detector, segmentor or classifier, or its config.
    """

    def has(name: str) -> bool:
        return (model.get(name) if isinstance(model, dict) else getattr(model, name, None)) is not None

    return [part for part in NECK_AND_HEADS if has(part.partition('.')[0])]


def lean_losses(cfg: Config) -> Config:
    """The config with ``LeanFocalLoss`` and ``LeanCrossEntropyLoss`` where mmdet's and mmseg's are."""
    cfg = copy.deepcopy(cfg)

    def replace(node: ConfigDict | list) -> None:
        for value in node.values() if isinstance(node, dict) else node:
            if isinstance(value, dict) and (lean := _lean_twin(value, cfg.get('default_scope'))):
                value.type = lean
            elif isinstance(value, (dict, list, tuple)):
                replace(value)

    replace(cfg.model)
    return cfg


def _lean_twin(loss: ConfigDict, default_scope: str | None) -> str | None:
    """The lean loss that does the same as a loss; None where there is none."""
    lean = LEAN.get(_named(loss.get('type'), default_scope))
    takes = all(loss.get(name, value) is value for name, value in TAKES.get(lean, {}).items())
    return lean if takes else None


def _named(kind: str | type | None, default_scope: str | None) -> tuple[str | None, str]:
    """The toolbox and the bare name of what a config's ``type`` says."""
    if kind is None or isinstance(kind, str):
        scope = kind.rpartition('.')[0] if kind else ''
        return scope or default_scope, type_name(kind)
    return kind.__module__.partition('.')[0], kind.__name__


def mixed_precision(cfg: Config) -> Config:
    """The config as ``--amp`` trains it: on a CPU in bfloat16."""
    cfg = copy.deepcopy(cfg)
    cfg.optim_wrapper.type = 'mmman.CPUAmpOptimWrapper' if get_device() == 'cpu' else 'AmpOptimWrapper'
    return cfg


def nothing_recomputed(cfg: Config) -> Config:
    """The config without recomputation."""
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.with_cp = False
    cfg.custom_hooks = hooks_but(cfg, 'RecomputeHook')
    return cfg


def hooks_but(cfg: Config, name: str) -> list:
    """The config's custom hooks, those of one type left out."""
    return [hook for hook in cfg.get('custom_hooks') or [] if type_name(hook.get('type')) != name]
