import copy
import logging

import pytest
from mmengine.hub import get_config
from mmengine.logging import MMLogger

from mmman.optim import LocalOptimWrapperConstructor
from mmman.registry import MODELS
from mmman.testing import tiny_retinanet

OPTIM_WRAPPER = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))


def tiny_faster_rcnn(num_classes=3, thr=None, local_thr=None):
    """mmdet's Faster R-CNN on the tiny backbone with RetinaNet's local heads."""
    tiny = tiny_retinanet(4)
    model = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py').model
    model.backbone = tiny.backbone
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.roi_head.bbox_roi_extractor.out_channels = 16
    model.roi_head.bbox_head.update(in_channels=16, fc_out_channels=16, num_classes=num_classes)
    model.backbone.local_head.train_cfg = copy.deepcopy(model.backbone.local_head.train_cfg)
    if thr is not None:
        model.train_cfg.rpn.assigner.gpu_assign_thr = thr
    if local_thr is not None:
        model.backbone.local_head.train_cfg.assigner.gpu_assign_thr = local_thr
    return MODELS.build(model)


def adapted(model):
    LocalOptimWrapperConstructor(OPTIM_WRAPPER)(model)
    return [branch.head.head for branch in model.backbone.local.values()]


@pytest.mark.parametrize(
    ('thr', 'local_thr', 'expected'), [(None, None, -1), (50, None, 50), (50, 20, 20), (50, 0, 0), (None, 20, 20)]
)
def test_gpu_assign_thr_reaches_the_local_heads(thr, local_thr, expected):
    model = tiny_faster_rcnn(thr=thr, local_thr=local_thr)
    assert [head.assigner.gpu_assign_thr for head in adapted(model)] == [expected] * 3
    assert model.rpn_head.assigner.gpu_assign_thr == (-1 if thr is None else thr)
    assert model.roi_head.bbox_assigner.gpu_assign_thr == -1


def test_classes_that_the_local_heads_do_not_know_are_refused():
    with pytest.raises(ValueError, match='RetinaHead has 3 classes, but the model 5: set local_head.num_classes=5'):
        adapted(tiny_faster_rcnn(num_classes=5))


def test_classes_that_the_model_does_not_know_are_said(monkeypatch):
    lines = []
    logger = MMLogger.get_instance('test_detection_model')
    monkeypatch.setattr(MMLogger, 'get_current_instance', classmethod(lambda cls: logger))
    monkeypatch.setattr(logger, 'log', lambda level, text: lines.append(text) if level == logging.WARNING else None)
    adapted(tiny_faster_rcnn(num_classes=2))
    (line,) = set(lines)  # mmengine's logger prints equal warnings once
    assert 'RetinaHead has 3 classes, but the model 2: set local_head.num_classes=2' in line


@pytest.mark.parametrize('num_classes', [1, 5])
def test_the_number_of_classes_is_an_argument(num_classes):
    model = tiny_retinanet(4)
    model.bbox_head.num_classes = 5
    model.backbone.local_head.num_classes = num_classes
    assert [head.num_classes for head in adapted(MODELS.build(model))] == [num_classes] * 3
