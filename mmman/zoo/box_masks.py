"""Masks of objects that have boxes only, so that an instance segmentor can learn from them."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import PolygonMasks


@TRANSFORMS.register_module()
class BoxMasks(BaseTransform):
    """Give each object its box as its mask. It stands behind ``LoadAnnotations``."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``gt_masks`` to ``results``, which has ``gt_bboxes`` and ``img_shape``."""
        corners = results['gt_bboxes'].numpy()[:, [0, 1, 2, 1, 2, 3, 0, 3]]
        results['gt_masks'] = PolygonMasks([[np.array(polygon)] for polygon in corners], *results['img_shape'])
        return results
