"""Missing data is named in one line, with what sets its folder, before anything is built."""

import json
from dataclasses import dataclass

import pytest
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric
from mmengine.config import Config

from mmman.apis.data_check import check_data

CONFIG = """
data_root = '{{$MMMAN_TEST_ROOT:data/coco/}}'
train_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root=data_root, ann_file='annotations/train.json', data_prefix=dict(img='train2017/')))
val_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root=data_root, ann_file='annotations/val.json', data_prefix=dict(img='val2017/')))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read a config's text, as a base of the file that is read, in an empty folder."""
    monkeypatch.delenv('MMMAN_TEST_ROOT', raising=False)
    monkeypatch.chdir(tmp_path)

    def read(text: str = CONFIG, scope: str = 'mmdet') -> Config:
        (tmp_path / 'base.py').write_text(f'default_scope = {scope!r}\n{text}')
        (tmp_path / 'config.py').write_text("_base_ = './base.py'\n")
        return Config.fromfile(tmp_path / 'config.py')

    return read


def make(root, *files):
    for name in files:
        path = root / name
        if name.endswith('/'):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({}))


def message(cfg, stage='train') -> str:
    with pytest.raises(FileNotFoundError) as caught:
        check_data(cfg, stage)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_the_line_names_path_variable_and_content(read):
    assert message(read()) == (
        "COCO data not found: 'data/coco/annotations/train.json' does not exist; "
        'set MMMAN_TEST_ROOT to the folder that holds annotations/, train2017/ and val2017/'
    )


def test_the_line_tells_the_variable_s_value(read, monkeypatch):
    monkeypatch.setenv('MMMAN_TEST_ROOT', 'elsewhere/')
    assert "'elsewhere/annotations/train.json' does not exist; set MMMAN_TEST_ROOT (now 'elsewhere/')" in message(
        read()
    )


def test_complete_data_pass_and_each_missing_part_is_found(read, tmp_path):
    root = tmp_path / 'data/coco'
    make(root, 'annotations/train.json', 'annotations/val.json', 'train2017/', 'val2017/')
    check_data(read(), 'train')
    check_data(read(), 'test')
    (root / 'val2017').rmdir()
    assert "'data/coco/val2017/' does not exist" in message(read(), 'train')
    assert "'data/coco/val2017/' does not exist" in message(read(), 'test')


def test_testing_does_not_ask_for_training_data(read, tmp_path):
    make(tmp_path / 'data/coco', 'annotations/val.json', 'val2017/')
    check_data(read(), 'test')
    assert 'annotations/train.json' in message(read(), 'train')


def test_a_config_without_variable_is_told_to_set_data_root(read):
    text = message(read(CONFIG.replace('{{$MMMAN_TEST_ROOT:data/coco/}}', 'fixed/')))
    assert "set data_root (now 'fixed/') in the config to the folder that holds annotations/" in text


@pytest.mark.parametrize(
    'wrapped',
    [
        "dict(type='RepeatDataset', times=2, dataset=LEAF)",
        "dict(type='ConcatDataset', datasets=[LEAF])",
        "dict(type='MultiImageMixDataset', dataset=dict(type='ConcatDataset', datasets=[LEAF]))",
    ],
)
def test_wrapped_datasets_are_looked_into(read, wrapped):
    leaf = "dict(type='CityscapesDataset', data_root='cs', data_prefix=dict(img_path='leftImg8bit/train'))"
    cfg = read(f'train_dataloader = dict(dataset={wrapped.replace("LEAF", leaf)})', 'mmseg')
    assert "Cityscapes data not found: 'cs/leftImg8bit/train' does not exist" in message(cfg)


def test_a_dataset_that_names_nothing_in_its_root_needs_the_root(read, tmp_path):
    cfg = read(
        "train_dataloader = dict(dataset=dict(type='ImageNet', data_root='data/imagenet', split='train'))", 'mmpretrain'
    )
    assert "'data/imagenet' does not exist" in message(cfg)
    make(tmp_path, 'data/imagenet/')
    check_data(cfg, 'train')


@pytest.mark.parametrize(
    'scope, dataset',
    [
        ('mmdet', "dict(type='CocoDataset', data_root='s3://bucket/coco/', ann_file='a.json')"),
        ('mmdet', "dict(type='CocoDataset', data_root='coco', ann_file='a.json', backend_args=dict(backend='petrel'))"),
        ('mmpretrain', "dict(type='CIFAR10', data_root='data/cifar10')"),
        ('mmpretrain', "dict(type='CIFAR100', data_prefix='data/cifar100')"),
        ('mmpretrain', "dict(type='SVHN', data_root='data/svhn', download=True)"),
    ],
)
def test_data_that_are_elsewhere_or_fetched_are_not_looked_for(read, scope, dataset):
    check_data(read(f'train_dataloader = dict(dataset={dataset})', scope), 'train')


IMAGES = dict(type='LoadImageFromFile')
LABELS = dict(type='LoadAnnotations')
SEG = dict(type='BaseSegDataset', data_root='seg', data_prefix=dict(img_path='img', seg_map_path='ann'))
COCO = dict(type='CocoDataset', data_root='coco', ann_file='a.json')


class TwoRoots(CocoDataset):
    """A dataset of one's own whose ``ann_file`` is the name of an entry, not a path."""

    def load_data_list(self):
        return []


class OtherClasses(CocoDataset):
    METAINFO = dict(classes=('a', 'b'))


@dataclass
class Named:
    """A metric of one's own."""

    ann_file: str


def leaf(scope: str, **dataset) -> Config:
    return Config(dict(default_scope=scope, test_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize(
    'scope, there, dataset',
    [
        ('mmseg', 'seg/img/', dict(SEG, pipeline=[IMAGES, dict(type='PackSegInputs')], test_mode=True)),
        ('mmseg', 'seg/img/', dict(SEG, pipeline=[IMAGES, dict(type='TestTimeAug', transforms=[[LABELS]])])),
        ('mmseg', 'seg/img/', dict(SEG, pipeline=[IMAGES, dict(LABELS, backend_args=dict(backend='http'))])),
        ('mmseg', 'seg/img/', dict(SEG, data_prefix=dict(img_path='img', depth_map_path='no'), pipeline=[IMAGES])),
        ('mmdet', 'coco/a.json', dict(COCO, data_prefix=dict(seg='no'), pipeline=[LABELS])),
        ('mmdet', 'coco/a.json', dict(COCO, data_prefix=dict(img='no'), pipeline=[dict(type='MyLoader')])),
        (
            'mmdet',
            'coco/a.json',
            dict(COCO, data_prefix=dict(img='a.zip'), pipeline=[dict(IMAGES, backend_args=dict(backend='zip'))]),
        ),
        ('mmdet', 'coco/a.json', dict(COCO, data_prefix=dict(ins='no', other='no'))),
        ('mmdet', 'coco/a.json', dict(COCO, data_prefix=dict(img='{split}2017/'))),
        ('mmdet', 'x', dict(COCO, ann_file=['a.json', 'b.json'])),
        ('mmdet', 'x', dict(COCO, type=TwoRoots, ann_file='small')),
        ('mmdet', 'x', dict(COCO, type='NobodyRegisteredThis')),
        ('mmdet', 'x', dict(type='MyWrapper', dataset=COCO)),
        ('mmpretrain', 'imgs/', dict(type='CustomDataset', data_prefix='imgs', pipeline=[])),
        ('mmpretrain', 'x', dict(type='CustomDataset', data_root='~', data_prefix='')),
        ('mmpretrain', 'list.txt', dict(type='CustomDataset', ann_file='list.txt', data_prefix='no', pipeline=[])),
    ],
)
def test_what_is_not_sure_to_be_read_is_not_looked_for(scope, there, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path, there)
    check_data(leaf(scope, **dataset), 'test')


@pytest.mark.parametrize(
    'scope, there, missing, dataset',
    [
        ('mmseg', 'x', 'seg/img', dict(SEG, pipeline=[IMAGES])),
        ('mmseg', 'x', 'seg/img', dict(SEG, pipeline=[dict(type='MyLoader')])),  # the folder is listed
        ('mmseg', 'seg/img/', 'seg/ann', dict(SEG, pipeline=[IMAGES, LABELS])),
        ('mmdet', 'coco/a.json', 'coco/no', dict(COCO, data_prefix=dict(img='no'), pipeline=[IMAGES])),
        (
            'mmdet',
            'coco/a.json',
            'coco/no',
            dict(COCO, data_prefix=dict(seg='no'), pipeline=[dict(LABELS, with_seg=True)]),
        ),
        ('mmdet', 'x', 'coco/a.json', dict(COCO, type=OtherClasses)),
        ('mmdet', 'x', 'coco/a.json', dict(COCO, type='mmdet.datasets.coco.CocoDataset', lazy_init=True)),
        ('mmdet', 'x', 'coco/a.json', dict(type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=COCO)])),
        ('mmpretrain', 'x', 'no', dict(type='CustomDataset', data_prefix='no')),
        ('mmpretrain', 'x', 'in/no', dict(type='ImageNet', data_root='in', data_prefix=dict(img_path='no'))),
    ],
)
def test_what_is_sure_to_be_read_is_looked_for(scope, there, missing, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path, there)
    assert f"'{missing}' does not exist" in message(leaf(scope, **dataset), 'test')


def test_in_a_lazy_config_without_a_scope():
    cfg = Config(dict(default_scope=None, train_dataloader=dict(dataset=dict(COCO, type=CocoDataset))))
    assert message(cfg, 'step').startswith("COCO data not found: 'coco/a.json' does not exist")


@pytest.mark.parametrize(
    'metric',
    [
        dict(type='CocoMetric', ann_file='s3://bucket/a.json'),
        dict(type='CocoMetric', ann_file='a.json', backend_args=dict(backend='http')),
        dict(type=Named, ann_file='small'),
        dict(type='Evaluator', metrics=[dict(type=Named, ann_file='small')]),
    ],
)
def test_metrics_that_read_no_file_of_this_disk(metric):
    check_data(Config(dict(default_scope='mmdet', test_evaluator=metric)), 'test')


def test_metrics_in_an_evaluator():
    evaluator = dict(type='Evaluator', metrics=[dict(type=CocoMetric, ann_file='a.json')])
    assert "test_evaluator.ann_file 'a.json'" in message(Config(dict(test_evaluator=evaluator)), 'test')


def test_a_step_reads_no_validation_data(read, tmp_path):
    make(tmp_path / 'data/coco', 'annotations/train.json', 'train2017/')
    check_data(read(), 'step')


def test_absolute_paths_do_not_count_from_the_root(read, tmp_path):
    cfg = read(
        f"train_dataloader = dict(dataset=dict(type='CocoDataset', data_root='x', ann_file='{tmp_path}/a.json'))"
    )
    assert f"'{tmp_path}/a.json' does not exist; the config names it in full" in message(cfg)


def test_the_evaluator_s_annotations_are_looked_for(read, tmp_path):
    make(tmp_path / 'data/coco', 'annotations/train.json', 'annotations/val.json', 'train2017/', 'val2017/')
    cfg = read()
    cfg.val_evaluator.ann_file = 'old/val.json'
    assert "val_evaluator.ann_file 'old/val.json' does not exist" in message(cfg)


def test_training_without_validation_passes(read, tmp_path):
    make(tmp_path / 'data/coco', 'annotations/train.json', 'train2017/')
    cfg = read()
    cfg.val_dataloader = cfg.val_evaluator = None
    check_data(cfg, 'train')
