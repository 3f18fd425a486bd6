"""The detection local head: any dense head of mmdet on a small pyramid grown from one block's output."""

import copy
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmman.registry import MODELS

from .base import BlockOutput, LocalHead, Position

# Keywords of mmdet's dense heads and prior generators that hold one entry per pyramid level.
PER_LEVEL = ('strides', 'base_sizes', 'centers', 'regress_ranges')
PRIOR_GENERATORS = ('anchor_generator', 'prior_generator', 'bbox_prior_generator')
OTHER_SIZES = ('match', 'background', 'ignore')


@MODELS.register_module()
class DetectionLocalHead(LocalHead):
    """A dense head of mmdet (``RetinaHead``, ``FCOSHead``, ...) as the local head of one block.

    y is projected to ``channels`` by a 1x1 convolution and brought to the strides that the head is to have by 3x3
    convolutions of stride 2. The head's config names all strides of the model's pyramid, as the model's own head does;
    of these the local head keeps the ones that fit the block, so that anchors have the sizes of the block's stride.

    Args:
        head (dict): Config of the dense head, with all strides of the pyramid; ``in_channels`` is filled in.
        channels (int): Channels of the projection and of the head's input. Defaults to 256.
        num_levels (int, optional): Number of levels from y's stride on. None: one, but the last local head takes all
            coarser ones too (the released code's choice). Defaults to None.
        own_stride (bool): Whether the head also sees the block's own output x at its own stride, added to the upsampled
            y, where that stride is in the pyramid: the neck uses x at this stride. Defaults to False, as released: here
            it made no difference that stands out from the noise between seeds (docs/en/results.md), and it costs a
            level.
        other_sizes (str): What objects outside the head's sizes are to it, where sizes run from 4 times its finest to 8
            times its coarsest stride (open towards sizes that no other level of the pyramid takes): ``'match'``,
            objects like all others, as the head's assigner has it (``MaxIoUAssigner`` gives each at least one anchor);
            ``'background'``; or ``'ignore'``, regions without a loss. Defaults to ``'match'``.
        train_cfg (dict, optional): ``train_cfg`` of the dense head (assigner, sampler). Defaults to None.
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If the head's config names no strides, or none that the block can reach.
    """

    def __init__(
        self,
        head: dict,
        example: BlockOutput,
        position: Position,
        channels: int = 256,
        num_levels: int | None = None,
        own_stride: bool = False,
        other_sizes: str = 'match',
        train_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        if other_sizes not in OTHER_SIZES:
            raise ValueError(f'DetectionLocalHead.other_sizes must be one of {OTHER_SIZES}, got {other_sizes!r}')
        if num_levels is not None and num_levels < 1:
            raise ValueError(f'DetectionLocalHead.num_levels must be at least 1, got {num_levels}')
        pyramid = _strides(head)
        y_stride, x_stride = example.stride(example.y), example.stride(example.x)
        reachable = [s for s in pyramid if s >= y_stride]
        if not reachable:
            raise ValueError(
                f'DetectionLocalHead: the auxiliary network ends at stride {y_stride}, but the strides of '
                f'{head["type"]} are {pyramid}: give it coarser ones, or end the block earlier'
            )
        if num_levels is None:
            num_levels = len(reachable) if position.is_last else 1
        strides = reachable[:num_levels]

        self.project_y = ConvModule(example.y.shape[1], channels, 1)
        self.to_first = _downsampling(channels, y_stride, strides[0])
        self.to_next = nn.ModuleList(_downsampling(channels, a, b) for a, b in zip(strides, strides[1:], strict=False))
        self.project_x = None
        if own_stride and x_stride in pyramid and x_stride < strides[0]:
            self.project_x = ConvModule(example.x.shape[1], channels, 1)
            strides = [x_stride, *strides]

        self.other_sizes = other_sizes
        self.sizes = (
            0 if strides[0] == pyramid[0] else 4 * strides[0],
            float('inf') if strides[-1] == pyramid[-1] else 8 * strides[-1],
        )
        self.strides = strides
        self.head = MODELS.build(_head_at(head, [pyramid.index(s) for s in strides], channels, train_cfg))
        if other_sizes == 'ignore':
            if not hasattr(getattr(self.head, 'assigner', None), 'ignore_iof_thr'):
                raise ValueError(
                    f"DetectionLocalHead.other_sizes='ignore' needs an assigner with ignore_iof_thr (MaxIoUAssigner); "
                    f'{head["type"]} has none here: choose one of {OTHER_SIZES[:2]}'
                )
            self.head.assigner.ignore_iof_thr = 0.5

    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the dense head's losses; see :meth:`LocalHead.loss`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[DetDataSample]): Ground truths. Images without boxes are background.

        Returns:
            dict[str, Tensor]: The dense head's losses, e.g. ``loss_cls`` and ``loss_bbox``.
        """
        if self.other_sizes != 'match':
            data_samples = [self._restrict(sample) for sample in data_samples]
        losses = self.head.loss(self.levels(output), data_samples)
        # mmdet's heads keep the sampled anchors for distillation until the next forward: bytes that nobody reads here.
        self.head._raw_positive_infos.clear()
        return losses

    def predict(self, output: BlockOutput, data_samples: list[Any], test_cfg: dict | None = None) -> list[InstanceData]:
        """Detect; see :meth:`LocalHead.predict`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[DetDataSample]): For the images' sizes and scales.
            test_cfg (dict, optional): Thresholds and NMS of a dense head.

        Returns:
            list[InstanceData]: Boxes in the original image's pixels, scores and labels of each image.
        """
        metas = [sample.metainfo for sample in data_samples]
        outputs = self.head(self.levels(output))
        return self.head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=test_cfg, rescale=True)

    def levels(self, output: BlockOutput) -> tuple[Tensor, ...]:
        """The pyramid of this block.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.

        Returns:
            tuple[Tensor, ...]: Feature maps (N, channels, H, W), one for each of ``self.strides``.
        """
        y = self.project_y(output.y)
        levels = [self.to_first(y)]
        for step in self.to_next:
            levels.append(step(levels[-1]))
        if self.project_x is not None:
            x = self.project_x(output.x)
            levels.insert(0, x + F.interpolate(y, size=x.shape[-2:], mode='nearest'))
        return tuple(levels)

    def _restrict(self, sample: Any) -> Any:
        """A copy of a data sample in which objects of other sizes are gone or ignored."""
        instances = sample.gt_instances
        boxes = instances.bboxes
        boxes = boxes.tensor if hasattr(boxes, 'tensor') else boxes
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        inside = (size >= self.sizes[0]) & (size < self.sizes[1])
        sample = sample.new()
        if self.other_sizes == 'ignore':
            others = InstanceData(bboxes=instances.bboxes[~inside])
            ignored = sample.get('ignored_instances')
            if ignored is not None and len(ignored):
                others = InstanceData.cat([InstanceData(bboxes=ignored.bboxes), others])
            sample.ignored_instances = others
        sample.gt_instances = instances[inside]
        return sample


def _strides(head: dict) -> list[int]:
    """All strides that a dense head's config names, from its prior generator or its own keyword."""
    for holder in [head, *(head.get(key) or {} for key in PRIOR_GENERATORS)]:
        if 'strides' in holder:
            return list(holder['strides'])
    raise ValueError(
        f'DetectionLocalHead: the config of {head["type"]} names no strides; give all strides of the pyramid, as in '
        'anchor_generator=dict(..., strides=[8, 16, 32, 64, 128]) or (FCOSHead) strides=[8, 16, 32, 64, 128]'
    )


def _head_at(head: dict, levels: list[int], in_channels: int, train_cfg: dict | None) -> dict:
    """The head's config with the given levels of the pyramid only."""
    head = copy.deepcopy(dict(head))
    head['in_channels'] = in_channels
    if train_cfg is not None:
        head['train_cfg'] = train_cfg
    for holder in [head, *(head.get(key) or {} for key in PRIOR_GENERATORS)]:
        for key in PER_LEVEL:
            if holder.get(key) is not None:
                holder[key] = [holder[key][i] for i in levels]
    return head


def _downsampling(channels: int, stride: int, target: int) -> nn.Sequential:
    """3x3 convolutions of stride 2 that lead from one stride to a coarser one (none where they are equal)."""
    steps = []
    while stride < target:
        steps.append(ConvModule(channels, channels, 3, stride=2, padding=1))
        stride *= 2
    return nn.Sequential(*steps)
