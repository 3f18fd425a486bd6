"""What the tests of the shipped configs share: find, load and build them, read what their heads and READMEs say."""

import argparse
import copy
import functools
import itertools
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmman.apis.runner import prepare_config
from mmman.models import LocalBackbone

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'configs'
CONFIGS = {
    path.relative_to(FOLDER).as_posix(): path
    for path in sorted(FOLDER.rglob('*.py'))
    if not {'_base_', 'pipeline'} & set(path.relative_to(FOLDER).parts)
}
PIPELINES = sorted((FOLDER / 'pipeline').glob('*.py'))
LOCAL = [name for name in CONFIGS if 'manpp' in name]
PLANNED = [name for name in CONFIGS if re.search(r'_\d+[gm]b_', name)]  # they change losses and unused outputs, too
CLASSIFICATION = [name for name in CONFIGS if name.startswith('classification/')]
DATA_SETS = ('cifar10', 'cityscapes', 'coco', 'imagenet', 'stl10', 'svhn')


def data_of(name: str) -> str:
    """The data set that a config's name ends with."""
    return Path(name).stem.rpartition('_')[2]


def path_of(name: str) -> Path:
    """Where a config lies: given by its path below ``configs``, or by its name, which is there once."""
    (path,) = [path for known, path in CONFIGS.items() if name in (known, path.name)]
    return path


@functools.cache
def _load(name: str) -> Config:
    if '::' in name:
        return get_config(name)
    cfg = Config.fromfile(path_of(name))
    return prepare_config(cfg) if is_short(name) else cfg


def is_short(name: str) -> bool:
    """Whether a config leaves it to LocalRunner to put a LocalBackbone in the backbone's place."""
    return 'local_learning = ' in path_of(name).read_text()


def load(name: str) -> Config:
    """Load a config of this repository as it is trained, or of a toolbox (``mmdet::...``), data in its usual place."""
    return copy.deepcopy(_load(name))


def build(cfg: Config) -> nn.Module:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


_BUILT: dict[str, tuple[int, dict[str, tuple]]] = {}


def built(name: str) -> tuple[int, dict[str, tuple]]:
    """Build a config's model; return its number of blocks and the shapes of its plain entries in a checkpoint.

    Models that differ only in the weights they start from, which building does not touch, are built once.
    """
    key = json.dumps(_without_init(plain(_load(name).model.to_dict())))
    if key not in _BUILT:
        model = build(load(name))
        blocks = len(model.backbone.blocks) if isinstance(model.backbone, LocalBackbone) else 1
        state = model.state_dict()
        _BUILT[key] = blocks, {k: tuple(v.shape) for k, v in state.items() if not k.startswith('backbone.local.')}
    return _BUILT[key]


def _without_init(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_init(v) for k, v in value.items() if k != 'init_cfg'}
    return value


def plain(value: Any) -> Any:
    """A config's content without the marks that mmengine leaves on what it inherits from another package."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != '_scope_'}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value)
    return value


def blocks_asked(cfg: Config) -> int:
    partition = cfg.model.backbone.partition
    return partition.num_blocks if partition.get('ends') is None else len(partition.ends) + 1


def twin_of(name: str) -> str:
    """The twin that a config's header names, or that a planned one inherits: beside it, or one of a toolbox."""
    text = path_of(name).read_text()
    header = re.match(r'(?:#.*\n)+', text).group()
    pattern, where = (r"_base_ = '(\S+)'", text) if name in PLANNED else (r'Twin: (\S+\.py)', header)
    twin = re.search(pattern, where).group(1)
    return twin if '::' in twin else os.path.normpath(Path(name).parent / twin)


def readme_options(readme: Path, heading: str) -> list[str]:
    """The `--cfg-options` of one of a README's tables of variants."""
    section = re.search(rf'\n{heading}\n(.*?)(?:\n##|\Z)', readme.read_text(), re.DOTALL)
    options = re.findall(r'`(model\.[^`]+=[^`]+)`', section.group(1))
    assert options
    return options


def assert_builds_with(name: str, options: str) -> None:
    """The options change the model of a config, and it builds with as many blocks as it then asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    changes = parser.parse_args(['--cfg-options', *shlex.split(options)]).cfg_options
    cfg = load(name)
    before = plain(cfg.model.to_dict())
    cfg.merge_from_dict(changes)
    assert plain(cfg.model.to_dict()) != before
    assert len(build(cfg).backbone.blocks) == blocks_asked(cfg)


def spelled_out(entry: str) -> list[str]:
    """Every name that an entry with alternatives in braces stands for."""
    parts = [part.split(',') for part in re.split(r'[{}]', entry)]
    return [''.join(choice) for choice in itertools.product(*parts)]
