"""The toolboxes of OpenMMLab, as configs name them by ``default_scope``."""

import importlib
import importlib.util


def register_toolbox(scope: str | None) -> None:
    """Register everything of the toolbox that a config builds from by default, but leave the default scope alone.

    Args:
        scope (str, optional): A config's ``default_scope``, such as mmdet. None, as in configs whose types are classes,
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
