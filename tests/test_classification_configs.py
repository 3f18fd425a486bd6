"""The classification configs load, build, keep to their twins and find their data; the README's one-liners work."""

import argparse
import copy
import functools
import itertools
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmcv import imwrite
from mmengine.config import Config, DictAction
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmman.models import LocalBackbone

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / 'configs/classification'
CONFIGS = {path.name: path for path in sorted(FOLDER.glob('*.py'))}
LOCAL = [name for name in CONFIGS if 'manpp' in name]
DATA = ('cifar10', 'stl10', 'svhn', 'imagenet')
README = (FOLDER / 'README.md').read_text()

# The paper's K, which the file names have, where it is not the number of blocks (the README says why).
BLOCKS = {'resnet32_{host}_manpp_k8': 9, 'resnet110_{host}_manpp_k32': 33, 'resnet32_auglocal_manpp_k16': 13}
BLOCKS = {key.format(host=host): blocks for key, blocks in BLOCKS.items() for host in ('dgl', 'infopro')}


@pytest.fixture(autouse=True)
def default_data_roots(monkeypatch):
    for data in DATA:
        monkeypatch.delenv(f'MMMAN_{data.upper()}_ROOT', raising=False)


@functools.cache
def _load(name: str) -> Config:
    return Config.fromfile(CONFIGS[name])


def load(name: str) -> Config:
    return copy.deepcopy(_load(name))


def build(cfg: Config) -> nn.Module:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


_BUILT: dict[str, tuple[int, dict[str, tuple]]] = {}


def built(name: str) -> tuple[int, dict[str, tuple]]:
    """The number of blocks of a config's model, and the shapes of its plain entries in a checkpoint.

    Data sets differ in no model: each is built once, and dropped.
    """
    key = json.dumps(_load(name).model.to_dict())
    if key not in _BUILT:
        model = build(load(name))
        blocks = len(model.backbone.blocks) if isinstance(model.backbone, LocalBackbone) else 1
        state = model.state_dict()
        _BUILT[key] = blocks, {k: tuple(v.shape) for k, v in state.items() if not k.startswith('backbone.local.')}
    return _BUILT[key]


def data_of(name: str) -> str:
    return Path(name).stem.rpartition('_')[2]


def twin_of(name: str) -> str:
    """The twin that the header of a config names."""
    header = re.match(r'(?:#.*\n)+', CONFIGS[name].read_text())
    return re.search(r'Twin: (\S+\.py)', header.group()).group(1)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_builds(name):
    blocks, shapes = built(name)
    assert shapes
    stem = name.removesuffix(f'_{data_of(name)}.py')
    assert blocks == (BLOCKS.get(stem) or int(re.search(r'_k(\d+)$', stem).group(1)) if name in LOCAL else 1)


@pytest.mark.parametrize('name', LOCAL)
def test_twin_differs_in_the_local_learning_lines_only(name):
    ours, twin = load(name).to_dict(), load(twin_of(name)).to_dict()
    wrapper = ours['model']['backbone']
    assert wrapper.pop('type') == 'mmman.LocalBackbone'
    ours['model']['backbone'] = wrapper['backbone']
    assert ours['optim_wrapper'].pop('constructor') == 'mmman.LocalOptimWrapperConstructor'
    assert ours.pop('custom_hooks') == [dict(type='mmman.LocalLossHook')]
    assert 'mmman' in ours.pop('custom_imports')['imports']
    twin.pop('custom_imports', None)
    for key in ('local_learning', 'ends'):  # where the configs took dicts and lists from
        ours.pop(key, None)
    assert ours == twin


@pytest.mark.parametrize('name', LOCAL)
def test_twin_has_the_same_plain_checkpoint(name):
    assert built(name)[1] == built(twin_of(name))[1]


@pytest.mark.parametrize('name', [name for name in CONFIGS if name not in LOCAL])
def test_end_to_end_config_names_its_twin(name):
    twin = twin_of(name)
    assert twin in LOCAL
    assert twin_of(twin) == name


@pytest.mark.parametrize('name', CONFIGS)
def test_data_root_is_the_environment_variable(name, monkeypatch):
    data = data_of(name)
    assert load(name).data_root == f'data/{data}/'
    monkeypatch.setenv(f'MMMAN_{data.upper()}_ROOT', '/somewhere/else')
    cfg = Config.fromfile(CONFIGS[name])
    assert cfg.data_root == '/somewhere/else'
    assert all(cfg[f'{part}_dataloader'].dataset.data_root == cfg.data_root for part in ('train', 'val', 'test'))
    assert f'data/{data}' not in str(cfg.to_dict())


@pytest.mark.parametrize(('data', 'size'), [('cifar10', 32), ('stl10', 96), ('svhn', 32)])
def test_small_images_keep_their_size(data, size):
    cfg = load(f'resnet32_e2e_{data}.py')
    assert sides(cfg, dict(img=np.zeros((size, size, 3), np.uint8), gt_label=0)) == (size, size)


def test_imagenet_s_images_become_224(tmp_path):
    imwrite(np.zeros((300, 500, 3), np.uint8), str(tmp_path / 'a.jpg'))
    cfg = load('resnet101_e2e_imagenet.py')
    assert sides(cfg, dict(img_path=str(tmp_path / 'a.jpg'), gt_label=0)) == (224, 224)


def sides(cfg: Config, image: dict) -> tuple[int, ...]:
    """The side of an image after the pipeline for training, and after that for evaluation."""
    shapes = []
    for part in ('train', 'val'):
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            inputs = Compose(cfg[f'{part}_dataloader'].dataset.pipeline)(copy.deepcopy(image))['inputs']
        assert inputs.dtype == torch.uint8 and inputs.shape[1] == inputs.shape[2]
        shapes.append(inputs.shape[1])
    return tuple(shapes)


def test_recipes():
    small, stl10 = load('resnet110_infopro_manpp_k55_svhn.py'), load('resnet110_infopro_manpp_k55_stl10.py')
    expected = dict(type='SGD', lr=0.8, momentum=0.9, weight_decay=1e-4, nesterov=True)
    assert small.optim_wrapper.optimizer == expected
    assert stl10.optim_wrapper.optimizer == {**expected, 'lr': 0.1}
    for cfg in (small, stl10):
        warm_up = cfg.param_scheduler[0]
        assert warm_up.start_factor * cfg.optim_wrapper.optimizer.lr == pytest.approx(0.01)
    assert load('resnet152_infopro_manpp_k4_imagenet.py').optim_wrapper.optimizer.lr == 0.4
    assert load('resnext101_infopro_manpp_k4_imagenet.py').optim_wrapper.optimizer.lr == 0.2
    assert load('vit_base_manpp_k6_imagenet.py').optim_wrapper.optimizer.type == 'AdamW'


@pytest.mark.parametrize('name', CONFIGS)
def test_learning_rate_is_for_the_batch(name):
    cfg = load(name)
    processes = 8 if data_of(name) == 'imagenet' else 1
    assert cfg.auto_scale_lr.base_batch_size == processes * cfg.train_dataloader.batch_size


@pytest.mark.parametrize(
    ('depth', 'k', 'units'),
    [(101, 2, [4, 29]), (101, 4, [6, 10, 8, 9]), (152, 2, [9, 41]), (152, 4, [10, 15, 12, 13])],
)
def test_released_imagenet_splits(depth, k, units):
    """Units of each block, the stem not counted (section 5.1 of the method digest)."""
    blocks = build(load(f'resnet{depth}_infopro_manpp_k{k}_imagenet.py')).backbone.blocks
    assert [sum(segment.name != 'stem' for segment in block.segments) for block in blocks] == units


@pytest.mark.parametrize('name', [name for name in CONFIGS if 'resnet152' in name and name in LOCAL])
def test_resnet152_s_task_weight(name):
    heads = load(name).model.backbone.local_head
    heads = heads if isinstance(heads, list) else [heads]
    assert all(head.task_weight == 1 and head.reconstruction_weight == 5 for head in heads)


def readme_options() -> list[str]:
    """The `--cfg-options` of the README's table of variants."""
    section = re.search(r'\n## Variants in one line\n(.*?)\n## ', README, re.DOTALL)
    return re.findall(r'`(model\.[^`]+=[^`]+)`', section.group(1))


@pytest.mark.parametrize('options', readme_options())
def test_readme_variants_build(options):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    changes = parser.parse_args(['--cfg-options', *shlex.split(options)]).cfg_options
    cfg = load('resnet32_infopro_manpp_k16_cifar10.py')
    before = cfg.model.to_dict()
    cfg.merge_from_dict(changes)
    assert cfg.model.to_dict() != before
    assert len(build(cfg).backbone.blocks) == cfg.model.backbone.partition.num_blocks


def test_readme_lists_every_config():
    listed = {name for entry in re.findall(r'`([^`/]+\.py)`', README) for name in spelled_out(entry)}
    assert listed == set(CONFIGS)


def spelled_out(entry: str) -> list[str]:
    """Every name that an entry with alternatives in braces stands for."""
    parts = [part.split(',') for part in re.split(r'[{}]', entry)]
    return [''.join(choice) for choice in itertools.product(*parts)]


def test_metafile_lists_every_config():
    metafile = 'configs/classification/metafile.yml'
    assert metafile in yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    index = yaml.safe_load((ROOT / metafile).read_text())
    assert sorted(m['Config'] for m in index['Models']) == [f'configs/classification/{name}' for name in CONFIGS]
    assert {m['In Collection'] for m in index['Models']} == {c['Name'] for c in index['Collections']}
    for model in index['Models']:
        cfg = _load(Path(model['Config']).name)
        assert model['Name'] == Path(model['Config']).stem
        assert model['Metadata']['Epochs'] == cfg.train_cfg.max_epochs
        assert model['Metadata']['Batch Size'] == cfg.auto_scale_lr.base_batch_size
