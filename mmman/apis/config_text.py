"""A short config that inherits another one and trains it in blocks, such as a person would write."""

import os.path as osp
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DefaultScope
from mmengine.utils import is_installed

from mmman.partition import Block, family_of, make_blocks
from mmman.registry import MODELS
from mmman.toolboxes import toolbox_of

from .config_parts import NotLocalizableError, find_backbone, without_weights
from .launch import config_file
from .localization import localize

PLACEHOLDER = '__backbone__'
# Of the arguments of LocalBackbone: a comment on what was chosen.
WHY = dict(
    partition="""\
        # The blocks, as above. Any others: ends=[...], the names of the segments that end one, but for the last.
""",
    auxiliary="""\
        # Before each local head stands the next block's first layer, as an average of its past and as a copy that
        # learns. None: the local head alone.
""",
    local_head="""\
        # What each block but the last learns by: the same task as the model's, by a light head. More channels and
        # convolutions cost memory and time.
""",
)
WIDTH = 100  # of a line, what stands before it left out


def short_config(path: str, cfg: Config, out: str, num_blocks: int | None = None) -> str:
    """Write a config of local learning that inherits a stock one.

    Args:
        path (str): What was read: a file, or ``'mmdet::...'``.
        cfg (Config): The config in it; its modules are registered.
        out (str): The file that the text is for.
        num_blocks (int, optional): K; see :func:`mmman.localize`.

    Returns:
        str: The text.

    Raises:
        NotLocalizableError: If it cannot be trained in blocks, or inherited by a config of text.
    """
    if not can_be_inherited(path, cfg):
        raise NotLocalizableError(
            f"'{path}' is a lazy config, which a config of text cannot inherit: train it by "
            'tools/train.py --local-learning K'
        )
    local = localize(cfg, num_blocks=num_blocks)
    holder, key = find_backbone(cfg.model)
    if holder is not cfg.model or key != 'backbone':
        raise NotLocalizableError(
            f"the backbone of '{path}' is not model.backbone: train it by tools/train.py --local-learning K"
        )
    backbone = local.model.backbone
    settings = {'_delete_': True, **backbone.to_dict(), 'backbone': PLACEHOLDER}
    choices = ''.join(f'{WHY.get(name, "")}        {name}={as_text(value, 8)},\n' for name, value in settings.items())
    choices = choices.replace(repr(PLACEHOLDER), '{{_base_.model.backbone}}')
    lines = [
        f'# {osp.splitext(osp.basename(path))[0]}, trained by MAN++ in blocks:',
        *(f'# - {block}' for block in _blocks_of(cfg, backbone)),
        f"_base_ = '{base_of(path, out)}'",
        f'custom_imports = {as_text(dict(local.custom_imports))}',
        '# An optimizer for each block, local losses in the log, checkpoints that resume exactly.',
        "runner_type = 'mmman.LocalRunner'",
        f'model_wrapper_cfg = {as_text(dict(local.model_wrapper_cfg))}  # on several processes',
        f'model = dict(\n    backbone=dict(\n{choices}    )\n)',
    ]
    return '\n'.join(lines) + '\n'


def can_be_inherited(path: str, cfg: Config) -> bool:
    """Whether a config of text can inherit a config, which no lazy one lets it."""
    return not cfg.get('lazy_imports') and path.endswith(('.py', '.json', '.yaml', '.yml'))


def base_of(path: str, out: str) -> str:
    """How a config names another one that it inherits.

    Args:
        path (str): The other config: a file, or ``'mmdet::...'``.
        out (str): The file of the config.
    """
    toolbox, separator, _ = path.partition('::')
    if separator and is_installed(MODULE2PACKAGE.get(toolbox, toolbox)):
        return path
    # mmengine looks for toolboxes by the names of their packages, which a fork may have changed.
    return config_file(path) if separator else osp.relpath(path, osp.dirname(out) or '.')


def _blocks_of(cfg: Config, local_backbone: dict) -> list[Block]:
    with DefaultScope.overwrite_default_scope(toolbox_of(cfg)):
        plain = MODELS.build(without_weights(cfg.model.backbone))
    return make_blocks(family_of(plain).segments(plain), **local_backbone['partition'])


def as_text(value: Any, indent: int = 0) -> str:
    """A setting as Python: ``dict(...)`` and lists on one line where they fit, else an entry on each."""
    if isinstance(value, dict) and all(isinstance(key, str) and key.isidentifier() for key in value):
        brackets, entries = ('dict(', ')'), [(f'{key}=', entry) for key, entry in value.items()]
    elif isinstance(value, (list, tuple)) and value:
        brackets, entries = ('[', ']'), [('', entry) for entry in value]
    else:
        return repr(value)
    line = f'{brackets[0]}{", ".join(name + as_text(entry) for name, entry in entries)}{brackets[1]}'
    if '\n' not in line and len(line) + indent < WIDTH:
        return line
    inner = ' ' * (indent + 4)
    lines = ''.join(f'{inner}{name}{as_text(entry, indent + 4)},\n' for name, entry in entries)
    return f'{brackets[0]}\n{lines}{" " * indent}{brackets[1]}'
