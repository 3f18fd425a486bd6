"""A batch for any model of the toolboxes: random images with every target that a config's model may ask for."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData

from mmman.toolboxes import type_name

from .config_parts import inner_model

BRANCHES = ('sup', 'unsup_teacher', 'unsup_student')


def detection_batch(
    model: Mapping[str, Any],
    size: tuple[int, int],
    num_classes: int,
    with_masks: bool = True,
    num_images: int = 2,
    num_objects: int = 3,
) -> dict[str, Any]:
    """Images with boxes, masks, a semantic map and proposals, as mmdet's pipelines give them.

    Args:
        model (Mapping): The model's config.
        size (tuple[int, int]): Height and width.
        num_classes (int): Number of classes.
        with_masks (bool): Whether the objects have masks. Defaults to True.
        num_images (int): Number of images. Defaults to 2.
        num_objects (int): Number of objects in each. Defaults to 3.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    rng, (height, width) = np.random.RandomState(0), size
    inputs, samples = [], []
    for i in range(num_images):
        count = num_objects
        corner = rng.rand(count, 2) * (width / 2, height / 2)
        boxes = np.hstack([corner, corner + (0.2 + 0.3 * rng.rand(count, 2)) * (width, height)]).astype(np.float32)
        masks = np.zeros((count, height, width), dtype=np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int).tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_id=i,
                img_path='',
                img_shape=size,
                ori_shape=size,
                pad_shape=size,
                batch_input_shape=size,
                scale_factor=(1.0, 1.0),
                flip=False,
                flip_direction=None,
                border=[1, 1, 1, 1],
                text=tuple(f'thing {chr(ord("a") + label)}' for label in range(min(num_classes, 3))),
                custom_entities=True,
                homography_matrix=np.eye(3, dtype=np.float32),
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=HorizontalBoxes(boxes, dtype=torch.float32),
            labels=torch.from_numpy(rng.randint(0, min(num_classes, 3), count)),
        )
        if with_masks:
            sample.gt_instances.masks = BitmapMasks(masks, height, width)
        sample.ignored_instances = InstanceData(
            bboxes=HorizontalBoxes(np.zeros((0, 4)), dtype=torch.float32), labels=torch.zeros(0, dtype=torch.long)
        )
        sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(rng.randint(0, min(num_classes, 3), (1, height, width))))
        if inner_model(model).get('rpn_head') is None:  # as for Fast R-CNN
            sample.proposals = InstanceData(
                bboxes=torch.from_numpy(np.vstack([boxes + 2, boxes - 2]).clip(0)),
                scores=torch.rand(2 * count),
            )
        inputs.append(torch.from_numpy(rng.randint(0, 255, (3, height, width), dtype=np.uint8)))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def video_batch(
    model: Mapping[str, Any],
    size: tuple[int, int],
    num_classes: int,
    with_masks: bool = True,
    num_objects: int = 3,
) -> dict[str, Any]:
    """A video of two frames, a key frame and a reference, with the same objects; see :func:`detection_batch`."""
    from mmdet.structures import TrackDataSample

    frames = detection_batch(model, size, num_classes, with_masks, num_objects=num_objects)
    samples = frames['data_samples']
    for i, sample in enumerate(samples):
        sample.set_metainfo(dict(frame_id=i, ori_video_length=2, video_id=0, video_length=2))
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor
        sample.ignored_instances.bboxes = sample.ignored_instances.bboxes.tensor
        sample.gt_instances.labels = samples[0].gt_instances.labels
        sample.gt_instances.instances_ids = torch.arange(len(sample.gt_instances))
    video = TrackDataSample(metainfo=dict(key_frames_inds=[0], ref_frames_inds=[1]))
    video.video_data_samples = samples
    return dict(inputs=[torch.stack(frames['inputs'])], data_samples=[video])


def semi_supervised_batch(
    model: Mapping[str, Any],
    size: tuple[int, int],
    num_classes: int,
    with_masks: bool = False,
    num_images: int = 2,
    num_objects: int = 3,
) -> dict[str, Any]:
    """The same images for every branch of a semi-supervised detector; see :func:`detection_batch`."""
    branches = {
        name: detection_batch(model, size, num_classes, with_masks, num_images, num_objects) for name in BRANCHES
    }
    return {key: {name: batch[key] for name, batch in branches.items()} for key in ('inputs', 'data_samples')}


def segmentation_batch(
    model: Mapping[str, Any],
    size: tuple[int, int],
    num_classes: int,
    with_masks: bool = False,
    num_images: int = 2,
) -> dict[str, Any]:
    """Images with label maps, edges and depths, as mmseg's pipelines give them; see :func:`detection_batch`."""
    from mmseg.structures import SegDataSample

    rng, (height, width) = np.random.RandomState(0), size
    inputs, samples = [], []
    for _ in range(num_images):
        labels = torch.zeros((1, height, width), dtype=torch.long)
        for label in range(1, min(num_classes, 4)):
            top, left = rng.randint(0, height // 2), rng.randint(0, width // 2)
            labels[:, top : top + height // 2, left : left + width // 2] = label
        sample = SegDataSample(
            metainfo=dict(
                img_shape=size,
                ori_shape=size,
                pad_shape=size,
                scale_factor=(1.0, 1.0),
                flip=False,
                category_id=0,
                img_path='',
            )
        )
        sample.gt_sem_seg = PixelData(data=labels)
        sample.gt_edge_map = PixelData(data=(labels > 0).long())
        sample.gt_depth_map = PixelData(data=labels + 1.0)
        inputs.append(torch.from_numpy(rng.randint(0, 255, (3, height, width), dtype=np.uint8)))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def classification_batch(
    model: Mapping[str, Any],
    size: tuple[int, int],
    num_classes: int,
    with_masks: bool = False,
    num_images: int = 4,
) -> dict[str, Any]:
    """Images with a label each; several labels where the head's name says so; see :func:`detection_batch`."""
    from mmpretrain.structures import DataSample

    rng, (height, width) = np.random.RandomState(0), size
    head = str((model.get('head') or {}).get('type'))
    several = 'MultiLabel' in head or 'CSRA' in head
    samples = []
    for i in range(num_images):
        label = [i % num_classes, (i + 1) % num_classes] if several else i % num_classes
        sample = DataSample(metainfo=dict(img_shape=size, ori_shape=size, num_classes=num_classes)).set_gt_label(label)
        if several:
            sample.set_gt_score(torch.zeros(num_classes).index_fill(0, torch.tensor(label), 1.0))
        samples.append(sample)
    images = torch.from_numpy(rng.randint(0, 255, (num_images, 3, height, width), dtype=np.uint8))
    return dict(inputs=images, data_samples=samples)


def identities_batch(
    model: Mapping[str, Any],
    size: tuple[int, int],
    num_classes: int,
    with_masks: bool = False,
) -> dict[str, Any]:
    """Two images of each of two persons in one sample, as for re-identification; see :func:`detection_batch`."""
    from mmdet.structures import ReIDDataSample

    images = torch.from_numpy(np.random.RandomState(0).randint(0, 255, (4, 3, *size), dtype=np.uint8))
    sample = ReIDDataSample(metainfo=dict(img_shape=size)).set_gt_label(np.array([0, 0, 1, 1]))
    return dict(inputs=[images], data_samples=[sample])


def training_batch(
    toolbox: str,
    model: Mapping[str, Any],
    size: tuple[int, int],
    num_classes: int,
    with_masks: bool,
    **numbers: int,
) -> dict[str, Any]:
    """A batch to train a model with.

    Args:
        toolbox (str): The toolbox whose kind of model it is.
        model (Mapping): The model's config.
        size (tuple[int, int]): Height and width.
        num_classes (int): Number of classes.
        with_masks (bool): Whether the objects have masks.
        **numbers (int): ``num_images`` and ``num_objects``, for the kinds of batches that have them; see
            :func:`detection_batch`.
    """
    processor = model.get('data_preprocessor') or {}
    make = MAKERS[toolbox] if processor.get('use_det_processor') else _maker(toolbox, model, IN_TRAINING)
    takes = inspect.signature(make).parameters
    numbers = {name: number for name, number in numbers.items() if name in takes}
    return make(model, size, num_classes, with_masks, **numbers)


def testing_batch(
    toolbox: str, model: Mapping[str, Any], size: tuple[int, int], num_classes: int, with_masks: bool
) -> dict[str, Any]:
    """A batch to test a model with, of one image: some models predict for no more; see :func:`training_batch`."""
    batch = _maker(toolbox, model, IN_TESTING)(model, size, num_classes, with_masks)
    return {key: value[:1] for key, value in batch.items()}


MAKERS = dict(mmdet=detection_batch, mmseg=segmentation_batch, mmpretrain=classification_batch)
# By the model's data preprocessor, where that tells another kind of batch.
IN_TESTING = dict(TrackDataPreprocessor=video_batch, ReIDDataPreprocessor=identities_batch)
IN_TRAINING = dict(IN_TESTING, MultiBranchDataPreprocessor=semi_supervised_batch)


def _maker(toolbox: str, model: Mapping[str, Any], kinds: Mapping[str, Callable]) -> Callable:
    return kinds.get(type_name((model.get('data_preprocessor') or {}).get('type')), MAKERS[toolbox])
