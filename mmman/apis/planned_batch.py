"""The batch that a plan is made for: made-up images of the size that a config trains with."""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmman.toolboxes import toolbox_of, type_name

from .any_batch import training_batch
from .config_parts import dicts_in, inner_model
from .default_heads import classes_of, toolbox_of_model

NUM_OBJECTS = 50  # in an image, where neither user nor data say
# Of an image whose resizing keeps its ratio: so it fills the 1333 x 800 of mmdet's configs.
LONG_TO_SHORT = 5 / 3
# Argument that says an image's width and height, by transform.
RESIZES = {
    'Resize': 'scale',
    'RandomResize': 'scale',
    'RandomChoiceResize': 'scales',
    'RandomResizedCrop': 'scale',
    'ResizeEdge': 'scale',
    'Mosaic': 'img_scale',
    'CachedMosaic': 'img_scale',
    'Pad': 'size',
}
# Height and width.
CROPS = {'RandomCrop': 'crop_size', 'CenterCrop': 'crop_size', 'RandomCenterCropPad': 'crop_size'}


def planned_batch(cfg: Config, batch_size: int | None = None, num_objects: int | None = None) -> dict[str, Any]:
    """Make a batch as a config's dataloader would give it.

    All images have the same objects: some assigners need the more the larger objects are, and costs of larger batches
    are told from those of smaller ones.

    Args:
        cfg (Config): The config; its modules are registered.
        batch_size (int, optional): Number of images; the config's by default.
        num_objects (int, optional): Number of objects in each; by default the most that an image of its data has, or
            50 where there is no data.

    Raises:
        ValueError: If the config does not tell the size of its images.
    """
    size, loader = image_size(cfg), list(dicts_in(cfg.get('train_dataloader') or {}))
    panoptic = any('Panoptic' in type_name(part.get('type')) for part in loader)
    masks = panoptic or any(part.get('with_mask') for part in loader)
    with DefaultScope.overwrite_default_scope(toolbox_of(cfg)):
        toolbox = toolbox_of_model(cfg.model)
        batch = training_batch(
            toolbox,
            cfg.model,
            size,
            classes_of(cfg.model) or 3,
            masks,
            num_images=batch_size or batch_size_of(cfg),
            num_objects=num_objects or most_objects(cfg) or NUM_OBJECTS,
        )
    samples = batch['data_samples']
    for branch in samples.values() if isinstance(samples, Mapping) else [samples]:
        for sample in branch[1:]:
            if 'gt_instances' in sample:
                sample.gt_instances = copy.deepcopy(branch[0].gt_instances)
    if toolbox == 'mmdet' and not panoptic and not any(part.get('with_seg') for part in loader):
        for sample in batch['data_samples']:
            if hasattr(sample, 'gt_sem_seg'):
                del sample.gt_sem_seg
    return batch


def batch_size_of(cfg: Config) -> int:
    """How many images a batch of a config has."""
    loader = cfg.get('train_dataloader') or {}
    size = loader.get('batch_size') or (loader.get('batch_sampler') or {}).get('batch_size')
    sampler = loader.get('sampler') or {}
    return size or sampler.get('batch_size') or 1


def image_size(cfg: Config) -> tuple[int, int]:
    """Height and width of the largest images that a config trains with.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If neither its training pipeline nor its model tells.
    """
    size = None
    for pipeline in _pipelines((cfg.get('train_dataloader') or {}).get('dataset')):
        size = _after(pipeline, size)
    if size is None:
        sizes = [part.get('img_size', part.get('input_size')) for part in dicts_in(inner_model(cfg.model))]
        sizes = [s for s in sizes if isinstance(s, (int, list, tuple))]
        if not sizes:
            raise ValueError(
                'the config does not say how large its images are: write a Resize into its training pipeline'
            )
        size = _pair(sizes[0])
    return size


def most_objects(cfg: Config) -> int | None:
    """The most objects that an image of a config's training data has; None where it is not there, or has none."""
    found = []
    for part in dicts_in((cfg.get('train_dataloader') or {}).get('dataset')):
        if not (part.get('ann_file') and part.get('type')):
            continue
        try:
            dataset = DATASETS.build({**part, 'pipeline': [], 'lazy_init': False})
        except FileNotFoundError:
            continue
        found += [len(dataset.get_data_info(i).get('instances') or ()) for i in range(len(dataset))]
    return max(found, default=0) or None


def _pipelines(dataset: Any) -> Iterable[Sequence[Mapping[str, Any]]]:
    """The pipelines of a data set and what it wraps, the innermost first."""
    if isinstance(dataset, Mapping):
        inner = dataset.get('dataset') or dataset.get('datasets')
        for each in inner if isinstance(inner, (list, tuple)) else [inner]:
            yield from _pipelines(each)
        if dataset.get('pipeline'):
            yield dataset['pipeline']


def _after(pipeline: Sequence[Any], size: tuple[int, int] | None) -> tuple[int, int] | None:
    """The size of images behind some transforms."""
    for step in pipeline:
        if not isinstance(step, Mapping):
            continue
        name = type_name(step.get('type'))
        if name in ('RandomChoice', 'RandomApply', 'MultiBranch', 'TransformBroadcaster'):
            branches = step.get('transforms') or [v for v in step.values() if isinstance(v, (list, tuple))]
            branches = branches if branches and isinstance(branches[0], (list, tuple)) else [branches]
            sizes = [s for branch in branches if (s := _after(branch, size)) is not None]
            size = max(sizes, key=math.prod, default=size)
        elif name in CROPS and step.get(CROPS[name]) and not str(step.get('crop_type', '')).startswith('relative'):
            crop = _pair(step[CROPS[name]])
            size = crop if size is None else (min(size[0], crop[0]), min(size[1], crop[1]))
        elif name in RESIZES and step.get(RESIZES[name]):
            size = _resized(step, step[RESIZES[name]])
    return size


def _resized(step: Mapping[str, Any], scale: Any) -> tuple[int, int]:
    scales = scale if isinstance(scale, (list, tuple)) and isinstance(scale[0], (list, tuple)) else [scale]
    ratio = max(step.get('ratio_range') or (1,)) if type_name(step['type']) == 'RandomResize' else 1
    sizes = []
    for each in scales:
        height, width = _pair(each)[::-1]
        keep = step.get('keep_ratio', (step.get('resize_cfg') or {}).get('keep_ratio', False))
        if keep:
            short, long = sorted((height, width))
            height, width = short, min(long, round(LONG_TO_SHORT * short))
        sizes.append((round(ratio * height), round(ratio * width)))
    return max(sizes, key=math.prod)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
