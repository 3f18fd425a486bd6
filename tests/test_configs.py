"""The shipped configs load, build, keep to their twins and find their data; the README's one-liners work."""

import argparse
import copy
import functools
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.hub import get_config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn

from mmman.models import LocalBackbone

ROOT = Path(__file__).parents[1]
CONFIGS = {
    path.relative_to(ROOT / 'configs').as_posix(): path
    for path in sorted((ROOT / 'configs').rglob('*.py'))
    if '_base_' not in path.parts
}
LOCAL = [name for name in CONFIGS if 'manpp' in name]
COCO = [name for name in CONFIGS if name.endswith('_coco.py')]


@pytest.fixture(autouse=True)
def default_data_root(monkeypatch):
    monkeypatch.delenv('MMMAN_COCO_ROOT', raising=False)


@functools.cache
def _load(name: str) -> Config:
    return get_config(name) if '::' in name else Config.fromfile(CONFIGS[name])


def load(name: str) -> Config:
    """Load a config of this repository, or of a toolbox (``mmdet::...``), with the data in its usual place."""
    return copy.deepcopy(_load(name))


def build(cfg: Config) -> nn.Module:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


_BUILT: dict[str, tuple[int, dict[str, tuple]]] = {}


def built(name: str) -> tuple[int, dict[str, tuple]]:
    """Build a config's model; return its number of blocks and the shapes of its plain entries in a checkpoint.

    Models that differ only in the weights they start from, which building does not touch, are built once.
    """
    cfg = load(name)
    key = json.dumps(without_init(plain(cfg.model.to_dict())))
    if key not in _BUILT:
        model = build(cfg)
        blocks = len(model.backbone.blocks) if isinstance(model.backbone, LocalBackbone) else 1
        state = model.state_dict()
        _BUILT[key] = blocks, {k: tuple(v.shape) for k, v in state.items() if not k.startswith('backbone.local.')}
    return _BUILT[key]


def without_init(value):
    if isinstance(value, dict):
        return {k: without_init(v) for k, v in value.items() if k != 'init_cfg'}
    return value


def twin_of(name: str) -> str:
    """The twin that the header of a config names."""
    header = re.match(r'(?:#.*\n)+', CONFIGS[name].read_text())
    return re.search(r'Twin: (\S+\.py)', header.group()).group(1)


def plain(value):
    """A config's content without the marks that mmengine leaves on what it inherits from another package."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != '_scope_'}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value)
    return value


@pytest.mark.parametrize('name', CONFIGS)
def test_config_builds(name):
    blocks, shapes = built(name)
    assert shapes
    ends = load(name).model.backbone.get('partition', {}).get('ends')
    if name not in LOCAL:
        assert blocks == 1
    elif ends is None:
        assert blocks == load(name).model.backbone.partition.num_blocks
    else:
        assert blocks == len(ends) + 1


@pytest.mark.parametrize('name', LOCAL)
def test_twin_differs_in_the_local_learning_lines_only(name):
    ours, twin = (plain(load(n).to_dict()) for n in (name, twin_of(name)))
    wrapper = ours['model']['backbone']
    assert wrapper.pop('type') == 'mmman.LocalBackbone'
    ours['model']['backbone'] = wrapper['backbone']
    assert ours['optim_wrapper'].pop('constructor') == 'mmman.LocalOptimWrapperConstructor'
    for key in ('custom_imports', 'custom_hooks'):
        del ours[key]
    ours.pop('local_learning', None)
    assert ours == twin


@pytest.mark.parametrize('name', LOCAL)
def test_twin_has_the_same_plain_checkpoint(name):
    assert built(name)[1] == built(twin_of(name))[1]


@pytest.mark.parametrize('name', [name for name in CONFIGS if name not in LOCAL])
def test_end_to_end_config_names_its_twin(name):
    twin = twin_of(name)
    assert twin in LOCAL
    assert twin_of(twin) == name


@pytest.mark.parametrize('name', COCO)
def test_data_root_is_the_environment_variable(name, monkeypatch):
    slash = '/' if 'manpp' in name else ''
    monkeypatch.setenv('MMMAN_COCO_ROOT', f'/somewhere/coco{slash}')
    cfg = Config.fromfile(CONFIGS[name])
    assert cfg.data_root == f'/somewhere/coco{slash}'
    for part in ('train', 'val', 'test'):
        assert cfg[f'{part}_dataloader'].dataset.data_root == cfg.data_root
    for part in ('val', 'test'):
        assert cfg[f'{part}_evaluator'].ann_file == '/somewhere/coco/annotations/instances_val2017.json'
    assert 'data/coco' not in str(cfg.to_dict())


@pytest.mark.parametrize('name', COCO)
def test_data_root_has_the_usual_default(name):
    assert load(name).data_root == 'data/coco/'


def test_released_recipe():
    cfg = load('retinanet_r18_manpp_coco.py')
    assert cfg.train_cfg.type == 'IterBasedTrainLoop' and cfg.train_cfg.max_iters == 90_000
    (scheduler,) = cfg.param_scheduler
    assert scheduler.milestones == [60_000, 80_000] and scheduler.gamma == 0.1 and not scheduler.by_epoch
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16
    resize = dict(type='Resize', scale=(1000, 600), keep_ratio=True)
    for part in ('train', 'val', 'test'):
        assert resize in cfg[f'{part}_dataloader'].dataset.pipeline
    backbone = build(cfg).backbone
    assert all(p.requires_grad for p in backbone.layer1.parameters()) and backbone.train().bn1.training
    assert backbone.zero_init_residual and backbone.init_cfg[0]['type'] == 'Kaiming'


def test_images_without_boxes_are_trained_on(tmp_path):
    (tmp_path / 'annotations').mkdir()
    images = [dict(id=i, file_name=f'{i}.jpg', width=64, height=64) for i in (1, 2)]
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 9, 9], area=81, iscrowd=0)
    annotations = dict(images=images, annotations=[box], categories=[dict(id=1, name='person')])
    (tmp_path / 'annotations/instances_train2017.json').write_text(json.dumps(annotations))
    cfg = load('retinanet_r50_manpp_coco.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(ConfigDict(cfg.train_dataloader.dataset, data_root=str(tmp_path), pipeline=[]))
    assert [len(dataset.get_data_info(i)['instances']) for i in range(len(dataset))] == [1, 0]


def readme_options() -> list[str]:
    """The `--cfg-options` of the README's table of variants."""
    section = re.search(r'## Variants in one line\n(.*?)\n## ', (ROOT / 'configs/README.md').read_text(), re.DOTALL)
    return re.findall(r'`(model\.[^`]+=[^`]+)`', section.group(1))


@pytest.mark.parametrize('options', readme_options())
def test_readme_variants_build(options):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    changes = parser.parse_args(['--cfg-options', *shlex.split(options)]).cfg_options
    cfg = load('retinanet_r18_manpp_coco.py')
    before = plain(cfg.model.to_dict())
    cfg.merge_from_dict(changes)
    assert plain(cfg.model.to_dict()) != before
    model = build(cfg)
    assert len(model.backbone.blocks) == cfg.model.backbone.partition.num_blocks


def test_readme_recipe_for_your_own_config(tmp_path):
    text = re.search(r'```python\n(.*?)```', (ROOT / 'configs/README.md').read_text(), re.DOTALL).group(1)
    (tmp_path / 'my_config.py').write_text(f"_base_ = '{CONFIGS['retinanet_r18_e2e_coco.py']}'\n")
    (tmp_path / 'local.py').write_text(text)
    model = build(Config.fromfile(tmp_path / 'local.py'))
    assert len(model.backbone.blocks) == 4
    assert all(block.head.head.assigner is not None for block in model.backbone.local.values())


def test_metafile_and_readme_list_every_config():
    (metafile,) = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    index = yaml.safe_load((ROOT / metafile).read_text())
    assert sorted(m['Config'] for m in index['Models']) == sorted(f'configs/{name}' for name in CONFIGS)
    assert all(m['Name'] == Path(m['Config']).stem for m in index['Models'])
    collections = {c['Name'] for c in index['Collections']}
    assert all(m['In Collection'] in collections for m in index['Models'])
    readme = (ROOT / 'configs/README.md').read_text()
    listed = set()
    for entry in re.findall(r'`([^`]+\.py)`', readme):
        depths = re.search(r'\{(.*?)\}', entry)
        listed |= {entry.replace(depths.group(), d) for d in depths.group(1).split(',')} if depths else {entry}
    assert set(CONFIGS) <= listed
