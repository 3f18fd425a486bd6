"""BoxMasks: an object without a mask has its box as its mask."""

import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes

from mmman.zoo.box_masks import BoxMasks


def test_box_is_mask():
    boxes = HorizontalBoxes([[1.0, 2.0, 4.0, 5.0], [0.0, 0.0, 2.0, 1.0]])
    masks = BoxMasks()(dict(gt_bboxes=boxes, img_shape=(6, 8)))['gt_masks']
    assert torch.equal(masks.get_bboxes(HorizontalBoxes).tensor, boxes.tensor)
    assert np.array_equal(masks.areas, [9, 2])
