"""From any config to the one that trains end to end."""

from mmengine.config import Config

from mmman.costs.variants import hooks_but, plain_settings
from mmman.toolboxes import type_name

from .config_parts import find_backbone, is_local


def end_to_end(cfg: Config) -> Config:
    """The config without local learning, and without what a plan has written into it.

    Args:
        cfg (Config): A config, stock or of local learning. It stays as it is.
    """
    cfg = plain_settings(cfg)
    cfg.pop('local_learning', None)
    cfg.custom_hooks = hooks_but(cfg, 'RecomputeHook')
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None and type_name(hook.get('type')) in ('RecomputeHook', 'PlanHook'):
            cfg.default_hooks[name] = None
    if is_local(cfg.model):
        holder, key = find_backbone(cfg.model, local=True)
        holder[key] = holder[key].backbone
    return cfg
