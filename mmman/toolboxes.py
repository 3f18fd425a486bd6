"""The toolboxes of OpenMMLab, as configs name them: by ``default_scope``, by a type's prefix, or by a class."""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

TOOLBOXES = ('mmdet', 'mmseg', 'mmpretrain')


def toolbox_of(cfg: Mapping[str, Any]) -> str:
    """The scope that a config builds from.

    It is the config's ``default_scope``. Where that is None, as in configs whose types are classes, it is the toolbox
    that the model's class or one of its bases comes from.

    Args:
        cfg (Mapping): A config.

    Returns:
        str: The scope; ``'mmengine'`` where nothing tells a toolbox.
    """
    if cfg.get('default_scope') is not None:
        return cfg['default_scope']
    model = cfg.get('model')
    kind = model.get('type', '') if isinstance(model, Mapping) else ''
    names = [kind] if isinstance(kind, str) else [base.__module__ for base in getattr(kind, '__mro__', (kind,))]
    return next((root for root in (name.partition('.')[0] for name in names) if root in TOOLBOXES), 'mmengine')


def register_toolbox(scope: str | None) -> None:
    """Register everything of the toolbox that a config builds from by default, but leave the default scope alone.

    Args:
        scope (str, optional): A config's ``default_scope``, such as mmdet, or what :func:`toolbox_of` gave. None
            registers nothing.
    """
    if scope in (None, 'mmengine', 'mmman') or importlib.util.find_spec(scope) is None:
        return  # mmengine is here, and a scope without a package is for the registry to complain about
    utils = importlib.import_module(f'{scope}.utils')
    if hasattr(utils, 'register_all_modules'):
        utils.register_all_modules(init_default_scope=False)
    if hasattr(utils, 'setup_cache_size_limit_of_dynamo'):
        utils.setup_cache_size_limit_of_dynamo()


def type_name(kind: str | type | None) -> str:
    """The bare name of what a config's ``type`` says: of ``'mmdet.ResNet'``, or of a class in a lazy config.

    Args:
        kind (str | type, optional): The entry ``type``; None gives an empty name.
    """
    if kind is None:
        return ''
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def is_type(kind: str | type | None, cls: type) -> bool:
    """Whether a config's ``type`` names a class: as a string, with or without scope, or as the class or a subclass.

    Args:
        kind (str | type, optional): The entry ``type``.
        cls (type): The class.
    """
    return issubclass(kind, cls) if isinstance(kind, type) else type_name(kind) == cls.__name__


def class_of(kind: str | type | None, registry: Registry) -> type | None:
    """The class that a registry builds for a config's ``type`` in the default scope; None if it knows none.

    Args:
        kind (str | type, optional): The entry ``type``.
        registry (Registry): The registry.
    """
    if kind is None or isinstance(kind, type):
        return kind
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(kind)
