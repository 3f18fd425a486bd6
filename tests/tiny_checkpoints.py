"""Configs of tiny models with data and metrics, and checkpoints of them, for the tests of the analyses."""

import itertools
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from scenarios.runner import tiny_run_cfg

from mmman.testing import tiny_classifier, tiny_segmentor

DATA = Path(__file__).parents[1] / 'demo/data'
NUMBERS = itertools.count()
CLASSES = ('WBC', 'RBC', 'Platelets')


def loader_of(dataset: dict, batch_size: int) -> dict:
    sampler = dict(type='DefaultSampler', shuffle=False)
    return dict(batch_size=batch_size, num_workers=0, sampler=sampler, dataset=dataset)


def with_test(cfg: Config, loader: dict, evaluator: dict) -> Config:
    cfg.merge_from_dict(dict(test_dataloader=loader, test_evaluator=evaluator, test_cfg=dict()))
    cfg.experiment_name = f'tiny{next(NUMBERS)}'  # mmengine's names are of a second, for which they share their scope
    cfg.setdefault('train_cfg', dict(by_epoch=True, max_epochs=1))  # mmengine wants all of training or nothing
    cfg.setdefault('optim_wrapper', dict(optimizer=dict(type='SGD', lr=0.01)))
    return cfg


def detector(tmp_path: Path, num_blocks: int | None = 4) -> Config:
    """The tiny RetinaNet on four photos of blood cells."""
    data_root = DATA / 'bccd_coco'
    cfg = tiny_run_cfg(num_blocks, tmp_path, data_root, classes=CLASSES)
    dataset = {**cfg.train_dataloader.dataset, 'test_mode': True, 'indices': 4}
    ann_file = str(data_root / 'annotations/instances_train2017.json')
    return with_test(cfg, loader_of(dataset, 4), dict(type='CocoMetric', ann_file=ann_file, metric='bbox'))


def classifier(tmp_path: Path, num_blocks: int | None = 4, host: str = 'greedy') -> Config:
    """The tiny ResNet on 24 images whose brightness tells their class; as many, others, to train on."""
    rng = np.random.RandomState(0)
    for split in ('train', 'test'):
        for label in range(3):
            for i in range(8):
                image = rng.randint(0, 100, (32, 32, 3)) + 70 * label
                mmcv.imwrite(image.astype(np.uint8), str(tmp_path / f'{split}/{label}/{i}.png'))
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset', data_root=str(tmp_path), data_prefix='train', pipeline=pipeline)
    flipped = [pipeline[0], dict(type='RandomFlip', prob=1.0), pipeline[1]]
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=tiny_classifier('resnet', num_blocks, host),
            work_dir=str(tmp_path),
            train_dataloader=loader_of({**dataset, 'pipeline': flipped}, 8),
            log_level='WARNING',
        )
    )
    return with_test(cfg, loader_of({**dataset, 'data_prefix': 'test'}, 8), dict(type='Accuracy', topk=1))


def segmentor(tmp_path: Path, num_blocks: int | None = 4) -> Config:
    """The tiny segmentor on three photos with twelve classes, of which it knows three."""
    demo = Config.fromfile(DATA.parent / 'configs/deeplabv3_r18_e2e_coco_free.py')
    dataset = dict(demo.test_dataloader.dataset, data_root=str(DATA / 'coco_free'), indices=3)
    dataset['pipeline'][1]['scale'] = (64, 64)
    model = tiny_segmentor(num_blocks)
    for head in (model.decode_head, model.auxiliary_head, *([model.backbone.local_head.head] if num_blocks else [])):
        head.num_classes = 12
    model.data_preprocessor.size = None
    cfg = Config(
        dict(
            default_scope='mmseg',
            model=model,
            work_dir=str(tmp_path),
            train_dataloader=loader_of(dataset, 1),
            log_level='WARNING',
        )
    )
    return with_test(cfg, loader_of(dataset, 1), dict(type='IoUMetric', iou_metrics=['mIoU']))


def save_checkpoint(cfg: Config, path: Path, seed: int = 0, classes: tuple[str, ...] = ()) -> str:
    """Write a checkpoint of a config's model, untrained."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))), path)
    return str(path)
