"""Other ways to train the model of a local-learning config, for comparison: end to end, recomputed, in mixed precision.

Each function takes a config and returns a new one.
"""

import copy
import inspect

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import nn

from mmman.hooks import LocalLossHook, RecomputeHook
from mmman.models import LocalBackbone
from mmman.toolboxes import is_type, toolbox_of, type_name

# The toolboxes' losses that have a lean twin, by the toolbox.
LEAN = {'FocalLoss': 'mmman.LeanFocalLoss', 'CrossEntropyLoss': 'mmman.LeanCrossEntropyLoss'}

# A dense head of mmdet goes through the levels of the pyramid one by one.
BEHIND = ('neck', 'bbox_head.forward_single', 'decode_head', 'auxiliary_head')


def end_to_end(cfg: Config) -> Config:
    """The config without local learning.

    Args:
        cfg (Config): A config whose backbone is a ``mmman.LocalBackbone``.

    Raises:
        ValueError: If there is no such backbone.
    """
    cfg = copy.deepcopy(cfg)
    kind = cfg.model.backbone.type
    if not is_type(kind, LocalBackbone):
        raise ValueError(f'the backbone is a {type_name(kind)}, not a mmman.LocalBackbone: name a config of it')
    cfg.model.backbone = cfg.model.backbone.backbone
    cfg.optim_wrapper.pop('constructor', None)
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if not is_type(hook.type, LocalLossHook)]
    cfg.pop('model_wrapper_cfg', None)
    return cfg


def with_cp(cfg: Config) -> Config | None:
    """End to end with the backbone's own ``with_cp=True``; None where it has no such option."""
    cfg = end_to_end(cfg)
    backbone = cfg.model.backbone.type
    if isinstance(backbone, str):
        with MMENGINE_MODELS.switch_scope_and_registry(toolbox_of(cfg)) as registry:
            backbone = registry.get(backbone)
    if not any('with_cp' in inspect.signature(c.__init__).parameters for c in backbone.__mro__ if c is not object):
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
    parts = behind(plain.model)
    if parts:
        plain.custom_hooks = [*plain.custom_hooks, ConfigDict(type='mmman.RecomputeHook', parts=parts)]
    return plain


def behind(model: dict | nn.Module) -> list[str]:
    """What there is to recompute behind a model's backbone, as ``RecomputeHook.parts``.

    Args:
        model (dict | nn.Module): A detector with a dense head, a segmentor or a classifier, or its config.
    """
    found = []
    for part in BEHIND:
        name = part.partition('.')[0]
        owner = model.get(name) if isinstance(model, dict) else getattr(model, name, None)
        if owner is not None:
            found.append(part)
    return found


def lean_losses(cfg: Config) -> Config:
    """The config with ``LeanFocalLoss`` and ``LeanCrossEntropyLoss`` where mmdet's and mmseg's are."""
    cfg = copy.deepcopy(cfg)
    names = {'mmdet': ('FocalLoss',), 'mmseg': ('CrossEntropyLoss',)}.get(toolbox_of(cfg), ())

    def replace(node: ConfigDict | list) -> None:
        for value in node.values() if isinstance(node, dict) else node:
            if isinstance(value, dict) and type_name(value.get('type')) in names:
                value.type = LEAN[type_name(value.type)]
            elif isinstance(value, (dict, list, tuple)):
                replace(value)

    replace(cfg.model)
    return cfg


def mixed_precision(cfg: Config) -> Config:
    """The config as ``--amp`` trains it: on a CPU in bfloat16."""
    cfg = copy.deepcopy(cfg)
    cfg.optim_wrapper.type = 'mmman.CPUAmpOptimWrapper' if get_device() == 'cpu' else 'AmpOptimWrapper'
    return cfg


def nothing_recomputed(cfg: Config) -> Config:
    """The config without recomputation."""
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.with_cp = False
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if not is_type(hook.type, RecomputeHook)]
    return cfg
