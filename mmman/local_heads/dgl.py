"""The local head of Decoupled Greedy Learning (Belilovsky et al., 2020)."""

from typing import Any

from mmman.registry import MODELS

from .classification import ClassificationLocalHead


@MODELS.register_module()
class DGLLocalHead(ClassificationLocalHead):
    """DGL's local head in the form that the released MAN++ code gives it (section 4 of the method digest).

    y is pooled to 8 x 8; three 1x1 convolutions of 128 channels; average; three hidden layers of 512, normalised; the
    classifier. 0.64 million parameters whatever y's width. (The reference keeps y's width and pools to a quarter of its
    height.)

    Args:
        head (dict): Config of the classifier, a head of mmpretrain; ``in_channels`` is filled in.
        **kwargs: ``example``, ``position`` and ``init_cfg`` of :class:`LocalHead`.
    """

    def __init__(self, head: dict, **kwargs: Any) -> None:
        super().__init__(head, pool=8, convs=3 * [(128, 1, 1)], hidden=3 * [512], hidden_norm=True, **kwargs)
