"""The classification configs find their data, have the paper's recipes and splits; the README's one-liners work."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmcv import imwrite
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from shipped_configs import (
    CLASSIFICATION,
    CONFIGS,
    FOLDER,
    LOCAL,
    assert_builds_with,
    blocks_asked,
    build,
    data_of,
    load,
    readme_options,
)

# The paper's K, which the file names have, where it is not the number of blocks (the README says why).
BLOCKS = {'resnet32_{host}_manpp_k8': 9, 'resnet110_{host}_manpp_k32': 33, 'resnet32_auglocal_manpp_k16': 13}
BLOCKS = {key.format(host=host): blocks for key, blocks in BLOCKS.items() for host in ('dgl', 'infopro')}


@pytest.mark.parametrize('name', [name for name in CLASSIFICATION if name in LOCAL])
def test_number_of_blocks_is_the_name_s(name):
    stem = Path(name).stem.removesuffix(f'_{data_of(name)}')
    assert blocks_asked(load(name)) == (BLOCKS.get(stem) or int(re.search(r'_k(\d+)$', stem).group(1)))


@pytest.mark.parametrize('name', CLASSIFICATION)
def test_data_root_is_the_environment_variable(name, monkeypatch):
    data = data_of(name)
    monkeypatch.setenv(f'MMMAN_{data.upper()}_ROOT', '/somewhere/else')
    cfg = Config.fromfile(CONFIGS[name])
    assert cfg.data_root == '/somewhere/else'
    assert all(cfg[f'{part}_dataloader'].dataset.data_root == cfg.data_root for part in ('train', 'val', 'test'))
    assert f'data/{data}' not in str(cfg.to_dict())


@pytest.mark.parametrize(('data', 'size'), [('cifar10', 32), ('stl10', 96), ('svhn', 32)])
def test_small_images_keep_their_size(data, size):
    cfg = load(f'classification/resnet32_e2e_{data}.py')
    assert sides(cfg, dict(img=np.zeros((size, size, 3), np.uint8), gt_label=0)) == (size, size)


def test_imagenet_s_images_become_224(tmp_path):
    imwrite(np.zeros((300, 500, 3), np.uint8), str(tmp_path / 'a.jpg'))
    cfg = load('classification/resnet101_e2e_imagenet.py')
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
    small, stl10 = (
        load('classification/resnet110_infopro_manpp_k55_svhn.py'),
        load('classification/resnet110_infopro_manpp_k55_stl10.py'),
    )
    expected = dict(type='SGD', lr=0.8, momentum=0.9, weight_decay=1e-4, nesterov=True)
    assert small.optim_wrapper.optimizer == expected
    assert stl10.optim_wrapper.optimizer == {**expected, 'lr': 0.1}
    for cfg in (small, stl10):
        warm_up = cfg.param_scheduler[0]
        assert warm_up.start_factor * cfg.optim_wrapper.optimizer.lr == pytest.approx(0.01)
    assert load('classification/resnet152_infopro_manpp_k4_imagenet.py').optim_wrapper.optimizer.lr == 0.4
    assert load('classification/resnext101_infopro_manpp_k4_imagenet.py').optim_wrapper.optimizer.lr == 0.2
    assert load('classification/vit_base_manpp_k6_imagenet.py').optim_wrapper.optimizer.type == 'AdamW'


@pytest.mark.parametrize('name', CLASSIFICATION)
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
    blocks = build(load(f'classification/resnet{depth}_infopro_manpp_k{k}_imagenet.py')).backbone.blocks
    assert [sum(segment.name != 'stem' for segment in block.segments) for block in blocks] == units


@pytest.mark.parametrize('name', [name for name in CLASSIFICATION if 'resnet152' in name and name in LOCAL])
def test_resnet152_s_task_weight(name):
    heads = load(name).model.backbone.local_head
    heads = heads if isinstance(heads, list) else [heads]
    assert all(head.task_weight == 1 and head.reconstruction_weight == 5 for head in heads)


@pytest.mark.parametrize('options', readme_options(FOLDER / 'classification/README.md', '## Variants in one line'))
def test_readme_variants_build(options):
    assert_builds_with('classification/resnet32_infopro_manpp_k16_cifar10.py', options)


def test_metafile_has_the_length_and_batch_of_every_config():
    index = yaml.safe_load((FOLDER / 'classification/metafile.yml').read_text())
    assert {m['In Collection'] for m in index['Models']} == {c['Name'] for c in index['Collections']}
    for model in index['Models']:
        cfg = load(model['Config'].removeprefix('configs/'))
        assert model['Metadata']['Epochs'] == cfg.train_cfg.max_epochs
        assert model['Metadata']['Batch Size'] == cfg.auto_scale_lr.base_batch_size
