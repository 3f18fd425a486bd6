"""InfoPro's classifier for small images."""

from typing import Any

from mmman.registry import MODELS

from .base import BlockOutput
from .classification import ClassificationLocalHead

WIDEST = 64


@MODELS.register_module()
class InfoProClassifier(ClassificationLocalHead):
    """InfoPro's task head on small images: twice y's channels, 64 at most, at half its size, a hidden layer of 128.

    Args:
        head (dict): Config of the classifier, a head of mmpretrain; or ``ContrastiveHead`` for "InfoPro contrast".
        example (BlockOutput): See :class:`LocalHead`.
        num_convs (int): 1 (InfoPro's default, "1c2f") or 2 (the released MAN++ code's, "2c2f"). Defaults to 2.
        **kwargs: ``position`` and ``init_cfg`` of :class:`LocalHead`.
    """

    def __init__(self, head: dict, example: BlockOutput, num_convs: int = 2, **kwargs: Any) -> None:
        channels = example.y.shape[1]
        width, stride = min(2 * channels, WIDEST), 2 if channels < WIDEST else 1
        convs = [(width, 3, stride), *(num_convs - 1) * [(width, 3, 1)]]
        super().__init__(head, example, convs=convs, hidden=[128], **kwargs)
