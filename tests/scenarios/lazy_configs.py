"""Configs as lazy ones are: types are classes, and there is no default scope."""

from typing import Any

from mmengine import registry
from mmengine.config import Config

REGISTRIES = [
    registry.MODELS,
    registry.TASK_UTILS,
    registry.DATASETS,
    registry.DATA_SAMPLERS,
    registry.TRANSFORMS,
    registry.HOOKS,
    registry.LOOPS,
    registry.LOG_PROCESSORS,
    registry.OPTIMIZERS,
    registry.OPTIM_WRAPPERS,
    registry.OPTIM_WRAPPER_CONSTRUCTORS,
]


def lazy(cfg: Config) -> Config:
    """The config with classes in place of names, as far as a registry of its scope has them.

    Args:
        cfg (Config): A config of strings with a ``default_scope``; its toolbox is registered.
    """
    return Config({**_with_classes(cfg.to_dict(), cfg.default_scope), 'default_scope': None})


def _with_classes(node: Any, scope: str) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(_with_classes(item, scope) for item in node)
    if not isinstance(node, dict):
        return node
    names = {key: node[key] for key in ('type', 'constructor') if isinstance(node.get(key), str)}
    return {
        key: _class_of(names[key], scope) if key in names else _with_classes(value, scope)
        for key, value in node.items()
    }


def _class_of(name: str, scope: str) -> type | str:
    for candidates in REGISTRIES:
        with candidates.switch_scope_and_registry(scope) as scoped:
            cls = scoped.get(name)
        if cls is not None:
            return cls
    return name
