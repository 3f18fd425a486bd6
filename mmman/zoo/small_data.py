"""Any config of the toolboxes on small real data: fewer iterations, smaller images, all else as shipped."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmman.apis.config_parts import dicts_in, without_weights
from mmman.toolboxes import toolbox_of, type_name

BCCD = ('WBC', 'RBC', 'Platelets')
# Of the transforms, heads and hooks: what is measured in pixels.
SIZES = ('scale', 'scales', 'img_scale', 'size', 'crop_size', 'border', 'random_size_range', 'batch_input_shape')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
WARM_UP = 20
AVERAGED = 0.05  # of the new weights in each step of EMAHook: what it averages is as short as training
STEP = 32  # sides stay multiples of it


def on_small_data(
    cfg: Config, data: Path, data_set: str, iterations: int, shrink: float, batch_size: int, lr: float | None = None
) -> Config:
    """Change a config so that it trains on one of the small data sets.

    Nothing is pretrained, so that nothing is frozen either. The learning rate is warmed up for 20 iterations and then
    falls to zero by a cosine; ``EMAHook`` averages 20 iterations.

    Args:
        cfg (Config): A config that a toolbox ships.
        data (Path): The folder that holds the data sets.
        data_set (str): ``'bccd_coco'``, ``'coco_free'`` (80 classes with masks for a detector, 12 for a segmentor) or
            ``'cifar10_mini'``.
        iterations (int): The least number of iterations.
        shrink (float): By what images become smaller.
        batch_size (int): Images of a training step.
        lr (float, optional): The learning rate, where the batch is much smaller than the config's. Defaults to its own.

    Returns:
        Config: The new config.
    """
    cfg, scope = copy.deepcopy(cfg), toolbox_of(cfg)
    cfg.model = without_weights(cfg.model)
    cfg.load_from = None
    for part in dicts_in(cfg.model):
        if part.get('frozen_stages', -1) >= 0 and 'norm_eval' in part:
            part.update(frozen_stages=-1, norm_eval=False)
    for part in dicts_in(
        [cfg.get(loader) for loader in LOADERS], cfg.get('custom_hooks'), cfg.model.get('data_preprocessor')
    ):
        for key in SIZES:
            if key in part:
                part[key] = _smaller(part[key], shrink)
    for loader in filter(None, map(cfg.get, LOADERS)):
        loader.update(num_workers=1, persistent_workers=False)
    cfg.train_dataloader.batch_size = batch_size
    if lr is not None:
        cfg.optim_wrapper.optimizer.lr = lr
    {'mmdet': _detection, 'mmseg': _segmentation, 'mmpretrain': _classification}[scope](cfg, data / data_set)
    _shorten(cfg, iterations, batch_size, dict(bccd_coco=205, coco_free=26, cifar10_mini=5000)[data_set])
    return cfg


def _detection(cfg: Config, root: Path) -> None:
    few = root.name == 'bccd_coco'
    for part in dicts_in(*(cfg.get(loader) for loader in LOADERS)):
        if 'ann_file' in part:
            training = 'train' in part['ann_file']
            split = 'train2017' if training else 'val2017'
            part.update(data_root=f'{root}/', ann_file=f'annotations/instances_{split}.json')
            part.data_prefix = dict(img=f'{split}/')
            if few:
                part.metainfo = dict(classes=BCCD)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = f'{root}/annotations/instances_val2017.json'
        if few:
            evaluator.metric = 'bbox'
    if few:
        _give_box_masks(cfg)
        for part in dicts_in(cfg.model):
            if part.get('num_classes') == 80:
                part.num_classes = len(BCCD)


def _give_box_masks(cfg: Config) -> None:
    """Let boxes stand for the masks that the data set has not."""
    for part in dicts_in([cfg.get(loader) for loader in LOADERS]):
        if any(step.pop('with_mask', False) for step in part.get('pipeline', [])):
            at = [type_name(step['type']) for step in part.pipeline].index('LoadAnnotations')
            part.pipeline.insert(at + 1, dict(type='BoxMasks'))
            cfg.custom_imports = dict(imports=['mmman.zoo.box_masks'], allow_failed_imports=False)


def _segmentation(cfg: Config, root: Path) -> None:
    said = json.loads((root / 'semantic_classes.json').read_text())
    for loader in LOADERS:
        split = 'train2017' if loader.startswith('train') else 'val2017'
        cfg[loader].dataset = ConfigDict(
            type='BaseSegDataset',
            data_root=f'{root}/',
            data_prefix=dict(img_path=split, seg_map_path=f'ann_dir/{split}'),
            metainfo=dict(classes=said['classes'], palette=said['palette']),
            pipeline=[_without(step, 'reduce_zero_label') for step in cfg[loader].dataset.pipeline],
        )
    for part in dicts_in(cfg.model):
        if 'num_classes' in part:
            part.num_classes = len(said['classes'])


def _classification(cfg: Config, root: Path) -> None:
    cfg.custom_imports = dict(imports=['mmman.classification'], allow_failed_imports=False)
    for loader in LOADERS:
        dataset = cfg[loader].dataset
        steps = [step for step in dataset.pipeline if type_name(step['type']) != 'LoadImageFromFile']
        split = 'train' if loader.startswith('train') else 'test'
        cfg[loader].dataset = ConfigDict(type='UncheckedCIFAR10', data_root=f'{root}/', split=split, pipeline=steps)
    cfg.val_dataloader.dataset.indices = cfg.test_dataloader.dataset.indices = 200
    for part in dicts_in(cfg.model, cfg.data_preprocessor):
        if part.get('num_classes') == 1000:
            part.num_classes = 10


def _shorten(cfg: Config, iterations: int, batch_size: int, images: int) -> None:
    loop, total = cfg.train_cfg, iterations
    if 'max_iters' in loop:
        loop.update(max_iters=iterations, val_interval=iterations)
    else:
        epoch = images // batch_size
        if epoch > 2 * iterations:
            cfg.train_dataloader.dataset.indices = iterations * batch_size
            epoch = iterations
        epochs = -(-iterations // epoch)
        total = epochs * epoch
        loop.update(max_epochs=epochs, val_interval=epochs)
        loop.pop('dynamic_intervals', None)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=WARM_UP),
        dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=WARM_UP, end=total, T_max=total - WARM_UP),
    ]
    for hook in cfg.get('custom_hooks') or []:
        if type_name(hook['type']) == 'EMAHook':
            hook.momentum = AVERAGED
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.interval = loop.get('max_iters') or loop.max_epochs
    cfg.log_processor = dict(cfg.get('log_processor') or {}, window_size=1)


def _smaller(value: Any, shrink: float) -> Any:
    """Sides in pixels, made smaller; ratios stay."""
    if isinstance(value, (list, tuple)):
        return type(value)(_smaller(entry, shrink) for entry in value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) < STEP:
        return value
    return (1 if value > 0 else -1) * max(STEP, round(abs(value) * shrink / STEP) * STEP)


def _without(step: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name != key}
