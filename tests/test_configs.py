"""The shipped configs load, build, keep to their twins and are listed; those of mmdet and mmseg in particular."""

import json
import re
from pathlib import Path

import mmseg
import pytest
import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope
from shipped_configs import (
    CONFIGS,
    DATA_SETS,
    FOLDER,
    LOCAL,
    PIPELINES,
    PLANNED,
    ROOT,
    assert_builds_with,
    blocks_asked,
    build,
    built,
    data_of,
    load,
    path_of,
    plain,
    readme_options,
    spelled_out,
    twin_of,
)
from torch.utils._pytree import tree_leaves

from mmman.apis import complete_config
from mmman.apis.planned_batch import planned_batch
from mmman.costs import TrainingStep

COCO = [name for name in CONFIGS if name.endswith('_coco.py')]
CITYSCAPES = [name for name in CONFIGS if name.endswith('_cityscapes.py')]
README = FOLDER / 'README.md'
DETECTION, SEGMENTATION = (FOLDER / folder / 'README.md' for folder in ('detection', 'segmentation'))
MMSEG = Path(mmseg.__file__).parent / '.mim' / 'configs'


@pytest.mark.parametrize('name', CONFIGS)
def test_config_builds(name):
    blocks, shapes = built(name)
    assert shapes
    assert blocks == (blocks_asked(load(name)) if name in LOCAL else 1)


@pytest.mark.parametrize('name', [name for name in LOCAL if name not in PLANNED])
def test_twin_differs_in_the_local_learning_lines_only(name):
    assert Config.fromfile(path_of(name)).runner_type == 'mmman.LocalRunner'
    ours, twin = plain(complete_config(load(name)).to_dict()), plain(load(twin_of(name)).to_dict())
    wrapper = ours['model']['backbone']
    assert wrapper.pop('type') == 'mmman.LocalBackbone'
    ours['model']['backbone'] = wrapper['backbone']
    assert ours['optim_wrapper'].pop('constructor') == 'mmman.LocalOptimWrapperConstructor'
    assert ours.pop('custom_hooks') == [dict(type='mmman.LocalLossHook')]
    assert ours.pop('model_wrapper_cfg') == dict(type='mmman.LocalDistributedDataParallel')
    assert ours['default_hooks']['checkpoint'].pop('type') == 'mmman.ExactCheckpointHook'
    assert twin['default_hooks']['checkpoint'].pop('type') == 'CheckpointHook'
    assert 'mmman' in ours.pop('custom_imports')['imports']
    # The twin of a detector or a segmentor is read where mmman is not installed.
    assert twin.pop('custom_imports', dict(imports=['mmman.classification']))['imports'] == ['mmman.classification']
    ours.pop('ends', None)  # where the configs took a list from
    assert ours == twin


@pytest.mark.parametrize('name', PLANNED)
def test_a_planned_config_trains_as_long_on_the_same_data_as_its_twin(name):
    ours, twin = (plain(load(n).to_dict()) for n in (name, twin_of(name)))
    for key in ('train_cfg', 'param_scheduler', 'train_dataloader', 'val_dataloader', 'test_evaluator'):
        assert ours[key] == twin[key]
    assert ours['optim_wrapper'].pop('constructor') == 'mmman.LocalOptimWrapperConstructor'
    assert ours['optim_wrapper'] == twin['optim_wrapper']


@pytest.mark.parametrize('name', PLANNED)
def test_a_planned_config_takes_what_it_says(name, tmp_path):
    cfg = load(name)
    cfg.work_dir, cfg.log_level = str(tmp_path), 'ERROR'
    found = TrainingStep(cfg, dry=True, batch=planned_batch(cfg)).bytes()
    assert cfg.default_hooks.plan.peak == pytest.approx(found.peak, rel=0.01)


@pytest.mark.parametrize('name', [name for name in PLANNED if '_r50_' in name])
def test_the_twin_of_a_planned_config_predicts_the_same(name):
    ours, twin = build(load(name)).eval(), build(load(twin_of(name))).eval()
    missing, _ = twin.load_state_dict(ours.state_dict(), strict=False)
    assert not missing
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found, expected = (tree_leaves(model(images, mode='tensor')) for model in (ours, twin))
    assert len(found) == len(expected)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize('path', PIPELINES, ids=lambda path: path.stem)
def test_a_pipeline_trains_its_base(path):
    cfg = Config.fromfile(path)
    folder = 'classification/' if path.stem.endswith('cifar10') else ''
    base = load(folder + path.name.replace('_pipeline', ''))
    ours, theirs = plain(cfg.to_dict()), plain(base.to_dict())
    assert ours.pop('model_wrapper_cfg') == dict(type='mmman.PipelineParallel')
    theirs.pop('model_wrapper_cfg')
    assert ours['train_cfg'].pop('type') == 'mmman.Pipeline' + theirs['train_cfg'].pop('type')
    assert ours['default_hooks']['checkpoint'].pop('type') == 'mmman.PipelineCheckpointHook'
    theirs['default_hooks']['checkpoint'].pop('type')
    assert ours == theirs
    assert f'`pipeline/{path.name}`' in README.read_text()
    assert f'`{path.name}`' in path.with_name('README.md').read_text()


@pytest.mark.parametrize('name', LOCAL)
def test_twin_has_the_same_plain_checkpoint(name):
    assert built(name)[1] == built(twin_of(name))[1]


@pytest.mark.parametrize('name', [name for name in CONFIGS if name not in LOCAL and name not in PLANNED])
def test_end_to_end_config_names_its_twin(name):
    twin = twin_of(name)
    assert twin in LOCAL
    assert twin_of(twin) == name


def test_every_config_has_a_known_data_set():
    assert {data_of(name) for name in CONFIGS} == set(DATA_SETS)


@pytest.mark.parametrize('name', CONFIGS)
def test_data_root_has_the_usual_default(name):
    assert load(name).data_root == f'data/{data_of(name)}/'


@pytest.fixture(scope='module')
def index() -> dict[str, list[dict]]:
    """What `model-index.yml` gathers: the entries of all metafiles."""
    files = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    parts = [yaml.safe_load((ROOT / file).read_text()) for file in files]
    return {key: [entry for part in parts for entry in part.get(key, [])] for key in ('Collections', 'Models')}


def test_metafiles_list_every_config(index):
    assert all(m['Name'] == Path(m['Config']).stem for m in index['Models'])
    collections = [c['Name'] for c in index['Collections']]
    assert {m['In Collection'] for m in index['Models']} <= set(collections)
    assert len(collections) == len(set(collections))
    assert all((ROOT / c['README']).is_file() for c in index['Collections'])
    configs = [f'configs/{name}' for name in CONFIGS] + [f'configs/pipeline/{path.name}' for path in PIPELINES]
    assert sorted(m['Config'] for m in index['Models']) == sorted(configs)


def test_metafiles_say_what_the_configs_have(index):
    for model in index['Models']:
        name = model['Config'].removeprefix('configs/')
        cfg = load(name) if name in CONFIGS else Config.fromfile(FOLDER / name)
        length = {'Iterations': cfg.train_cfg.get('max_iters'), 'Epochs': cfg.train_cfg.get('max_epochs')}
        expected = {key: value for key, value in length.items() if value}
        expected['Batch Size'] = cfg.auto_scale_lr.base_batch_size
        assert {k: v for k, v in model['Metadata'].items() if k != 'Training Data'} == expected, model['Name']


def test_every_name_is_there_once():
    """`mim train mmman NAME` looks for a file of that name in all folders, and refuses two."""
    names = [path.name for path in FOLDER.rglob('*.py') if '_base_' not in path.parts]
    assert len(names) == len(set(names)) and names


@pytest.mark.parametrize('folder', sorted({path.parent for path in CONFIGS.values()}), ids=lambda folder: folder.name)
def test_readme_lists_every_config_of_its_folder(folder):
    readme = (folder / 'README.md').read_text()
    listed = {name for entry in re.findall(r'`([^`/:]+\.py)`', readme) for name in spelled_out(entry)}
    assert {path.name for path in CONFIGS.values() if path.parent == folder} <= listed


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


@pytest.mark.parametrize('name', CITYSCAPES)
def test_cityscapes_root_is_the_environment_variable(name, monkeypatch):
    slash = '/' if 'manpp' in name else ''
    monkeypatch.setenv('MMMAN_CITYSCAPES_ROOT', f'/somewhere/cityscapes{slash}')
    cfg = Config.fromfile(CONFIGS[name])
    assert cfg.data_root == f'/somewhere/cityscapes{slash}'
    for part in ('train', 'val', 'test'):
        assert cfg[f'{part}_dataloader'].dataset.data_root == cfg.data_root
    assert 'data/cityscapes' not in str(cfg.to_dict())


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


@pytest.mark.parametrize('depth', [50, 101])
@pytest.mark.parametrize('net', ['deeplabv3', 'deeplabv3plus'])
def test_deeplab_is_mmseg_s_own(net, depth):
    ours = load(f'{net}_r{depth}_e2e_cityscapes.py')
    stock = Config.fromfile(MMSEG / net / f'{net}_r{depth}-d8_4xb2-40k_cityscapes-512x1024.py')
    weights = stock.model.pop('pretrained')
    for key in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'tta_model', 'tta_pipeline', 'env_cfg'):
        assert ours[key] == stock[key]
    for part in ('train', 'val', 'test'):
        assert ours[f'{part}_dataloader'] == stock[f'{part}_dataloader']
    assert ours.val_evaluator == ours.test_evaluator == stock.val_evaluator
    pretrained = load(f'{net}_r{depth}_e2e_pretrained_cityscapes.py').model.backbone.init_cfg
    assert pretrained == dict(type='Pretrained', checkpoint=weights)


@pytest.mark.parametrize(
    ('name', 'units'),
    [
        ('deeplabv3_r50_manpp_cityscapes.py', [1 + 3 + 4 + 3, 3 + 3]),
        ('deeplabv3_r101_infopro_manpp_cityscapes.py', [1 + 3 + 4 + 13, 10 + 3]),
        ('deeplabv3_r50_manpp_k4_cityscapes.py', [1 + 3, 4, 6, 3]),
    ],
)
def test_segmentation_split(name, units):
    """With two blocks stage 3, on which the FCN auxiliary head sits, ends in the last one; with four it does not."""
    cfg = load(name)
    assert cfg.model.auxiliary_head.in_index == 2
    assert [len(block.segments) for block in build(cfg).backbone.blocks] == units


def test_segmentation_paper_recipe():
    cfg = load('deeplabv3_r50_infopro_manpp_paper_cityscapes.py')
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.8, momentum=0.9, weight_decay=5e-4)
    assert cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size == 128
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == 4000
    pipeline = load('deeplabv3_r50_e2e_cityscapes.py').train_dataloader.dataset.pipeline
    pipeline[3].crop_size = (768, 768)
    assert cfg.train_dataloader.dataset.pipeline == pipeline
    assert cfg.model.data_preprocessor.size == (768, 768)


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


@pytest.mark.parametrize('options', readme_options(DETECTION, '## Variants in one line'))
def test_readme_variants_build(options):
    assert_builds_with('retinanet_r18_manpp_coco.py', options)


@pytest.mark.parametrize('options', readme_options(SEGMENTATION, '## Variants in one line'))
def test_readme_segmentation_variants_build(options):
    infopro = 'reconstruction' in options or 'local_head.task' in options
    assert_builds_with(f'deeplabv3_r50_{"infopro_" if infopro else ""}manpp_cityscapes.py', options)


def test_readme_recipe_for_your_own_config(tmp_path):
    text = re.search(r'```python\n(.*?)```', README.read_text(), re.DOTALL).group(1)
    (tmp_path / 'my_config.py').write_text(f"_base_ = '{path_of('retinanet_r18_e2e_coco.py')}'\n")
    (tmp_path / 'local.py').write_text(text)
    model = build(Config.fromfile(tmp_path / 'local.py'))
    assert len(model.backbone.blocks) == 4
    assert all(block.head.head.assigner is not None for block in model.backbone.local.values())
