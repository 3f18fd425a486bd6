"""Other settings for the same training: end to end, lean losses, another precision.

Each function takes a config and returns a new one.
"""

import copy

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

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


def single_precision(cfg: Config) -> Config:
    """The config without mixed precision."""
    cfg = copy.deepcopy(cfg)
    wrapper = cfg.optim_wrapper
    if type_name(wrapper.get('type')) in ('AmpOptimWrapper', 'CPUAmpOptimWrapper'):
        wrapper.type = 'OptimWrapper'
        for name in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(name, None)
    return cfg


def hooks_but(cfg: Config, name: str) -> list:
    """The config's custom hooks, those of one type left out."""
    return [hook for hook in cfg.get('custom_hooks') or [] if type_name(hook.get('type')) != name]
