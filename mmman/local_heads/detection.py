"""The detection local head: any dense head of mmdet on a small pyramid grown from one block's output."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmman.registry import MODELS

from .base import BlockOutput, LocalHead, Position, require_map
from .dense_head import build_dense_head
from .detection_model import require_classes, share_gpu_assign_thr
from .detection_trial import NoTrainCfgError, try_out
from .levels import HeadLevels

OTHER_SIZES = ('match', 'background', 'ignore')


@MODELS.register_module()
class DetectionLocalHead(LocalHead):
    """A dense head of mmdet (``RetinaHead``, ``FCOSHead``, ...) as the local head of one block.

    y is projected to ``channels`` by a 1x1 convolution and brought to the strides that the head is to have by 3x3
    convolutions of stride 2. The head's config names all strides of the model's pyramid, as the model's own head does;
    of these the local head keeps the ones that fit the block, so that anchors have the sizes of the block's stride. All
    that has one entry per level is cut with the strides (:class:`mmman.local_heads.levels.HeadLevels`), and a copy of
    the result runs once on a made-up image: a head that fails there, or has parameters without a gradient, is refused.
    Where all it lacks is its ``train_cfg``, it is refused when it is to be trained.

    A head of one class, such as ``RPNHead``, sees every object as that class, as a two-stage detector has it.

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
        num_classes (int, optional): Number of classes, in the place of that in the head's config: for a config that is
            shared by data sets. Defaults to None. What the model's own heads have is compared with it before training.
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If the head names no strides or none that the block can reach, or cannot learn from the block alone.
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
        num_classes: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        if other_sizes not in OTHER_SIZES:
            raise ValueError(f'DetectionLocalHead.other_sizes must be one of {OTHER_SIZES}, got {other_sizes!r}')
        if num_levels is not None and num_levels < 1:
            raise ValueError(f'DetectionLocalHead.num_levels must be at least 1, got {num_levels}')
        require_map(self, example)
        pyramid = HeadLevels(head)
        y_stride, x_stride = example.stride(example.y), example.stride(example.x)
        finest_first = sorted(range(len(pyramid.strides)), key=pyramid.strides.__getitem__)
        reachable = [i for i in finest_first if _halvings(y_stride, pyramid.strides[i]) >= 0]
        if not reachable:
            raise ValueError(
                f'DetectionLocalHead: the auxiliary network ends at stride {y_stride}, but the strides of '
                f'{pyramid.name} are {pyramid.strides}: give it coarser ones, or end the block earlier'
            )
        if num_levels is None:
            num_levels = len(reachable) if position.is_last else 1
        kept = reachable[:num_levels]
        halvings = [_halvings(y_stride, pyramid.strides[i]) for i in kept]

        self.project_y = ConvModule(example.y.shape[1], channels, 1)
        self.to_first = _downsampling(channels, halvings[0])
        self.to_next = nn.ModuleList(
            _downsampling(channels, b - a) for a, b in zip(halvings, halvings[1:], strict=False)
        )
        self.project_x = None
        own = next((i for i in finest_first if _halvings(x_stride, pyramid.strides[i]) == 0), None)
        if own_stride and own is not None and finest_first.index(own) < finest_first.index(kept[0]):
            self.project_x = ConvModule(example.x.shape[1], channels, 1)
            kept = [own, *kept]

        self.other_sizes = other_sizes
        self.strides = [pyramid.strides[i] for i in kept]
        self.sizes = (
            0 if kept[0] == finest_first[0] else 4 * self.strides[0],
            float('inf') if kept[-1] == finest_first[-1] else 8 * self.strides[-1],
        )
        self.order = [kept.index(i) for i in sorted(kept)]
        self.head = build_dense_head(pyramid, sorted(kept), channels, train_cfg, num_classes)
        if other_sizes == 'ignore':
            if not hasattr(getattr(self.head, 'assigner', None), 'ignore_iof_thr'):
                raise ValueError(
                    f"DetectionLocalHead.other_sizes='ignore' needs an assigner with ignore_iof_thr (MaxIoUAssigner); "
                    f'{pyramid.name} has none here: choose one of {OTHER_SIZES[:2]}'
                )
            self.head.assigner.ignore_iof_thr = 0.5
        self._refusal = ''
        try:
            try_out(self, pyramid, sorted(kept), example)
        except NoTrainCfgError as error:
            # The model loads, predicts and is pickled: it is refused when it is to be trained. The text is enough: the
            # error would keep alive all that the trial made.
            self._refusal = str(error)

    def loss(self, output: BlockOutput, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the dense head's losses; see :meth:`LocalHead.loss`.

        Args:
            output (BlockOutput): What the block and its auxiliary made of the batch.
            data_samples (list[DetDataSample | TrackDataSample]): Ground truths, of single images or of videos, whose
                frames follow one another. Images without objects are background; masks without boxes are boxed in.

        Returns:
            dict[str, Tensor]: The dense head's losses, e.g. ``loss_cls`` and ``loss_bbox``.
        """
        data_samples = _single_images(data_samples, len(output.y))
        if self.other_sizes != 'match':
            for sample in data_samples:
                self._restrict(sample)
        if getattr(self.head, 'num_classes', None) == 1:
            for sample in data_samples:
                sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
        losses = self.head.loss(self._in_order(output), data_samples)
        # mmdet's heads keep the sampled anchors for distillation until the next forward: bytes that nobody reads here.
        if hasattr(self.head, '_raw_positive_infos'):
            self.head._raw_positive_infos.clear()
        return losses

    def adapt_to(self, model: nn.Module) -> None:
        """Compare classes with the model's own heads, and take over their ``gpu_assign_thr``; see :class:`LocalHead`.

        Args:
            model (nn.Module): The detector.

        Raises:
            ValueError: If the model has more classes than the head, or the head cannot learn without a ``train_cfg``.
        """
        if self._refusal:
            raise NoTrainCfgError(self._refusal)
        require_classes(self.head, model)
        share_gpu_assign_thr(self.head, model)

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
        outputs = self.head(self._in_order(output))
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

    def _in_order(self, output: BlockOutput) -> tuple[Tensor, ...]:
        """The pyramid in the dense head's own order: YOLOV3Head's begins with the coarsest level."""
        levels = self.levels(output)
        return tuple(levels[i] for i in self.order)

    def _restrict(self, sample: Any) -> None:
        """Take objects of other sizes out of a data sample, or let them be ignored."""
        instances = sample.gt_instances
        boxes = instances.bboxes
        boxes = boxes.tensor if hasattr(boxes, 'tensor') else boxes
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        inside = (size >= self.sizes[0]) & (size < self.sizes[1])
        if self.other_sizes == 'ignore':
            others = InstanceData(bboxes=instances.bboxes[~inside])
            ignored = sample.get('ignored_instances')
            if ignored is not None and len(ignored):
                others = InstanceData.cat([InstanceData(bboxes=ignored.bboxes), others])
            sample.ignored_instances = others
        sample.gt_instances = instances[inside]


def _single_images(data_samples: list[Any], number: int) -> list[Any]:
    """Copies of the samples of single images, with boxes drawn around masks where there are masks only.

    Videos are taken frame by frame. If the backbone has seen one of each video, that is its key frame.

    Raises:
        ValueError: If they are not one set of objects for each image that the backbone has seen.
    """
    samples = data_samples if isinstance(data_samples, (list, tuple)) else [data_samples]
    frames = [frame for sample in samples for frame in getattr(sample, 'video_data_samples', [sample])]
    if len(frames) > number == len(samples):
        frames = [sample.get_key_frames()[0] for sample in samples]
    for wrong in [frame for frame in frames if not hasattr(frame, 'gt_instances')][:1]:
        raise ValueError(
            'DetectionLocalHead learns from the objects of images (DetDataSample.gt_instances), but the model is given '
            f'{type(wrong).__name__}: train models with several data streams as a whole, by '
            'partition=dict(num_blocks=1)'
        )
    if len(frames) != number:
        raise ValueError(
            f'DetectionLocalHead is given the objects of {len(frames)} images, but the backbone has seen {number} of '
            'them: models that run their backbone for one frame after the other cannot be trained in blocks; use '
            'partition=dict(num_blocks=1)'
        )
    frames = [_copy_of(frame) for frame in frames]
    for instances in [frame.gt_instances for frame in frames]:
        if 'bboxes' not in instances:
            _draw_boxes(instances)
    return frames


def _draw_boxes(instances: InstanceData) -> None:
    """Give instances the boxes around their masks."""
    if 'masks' not in instances:
        raise ValueError('DetectionLocalHead learns from boxes or masks, but gt_instances has neither')
    instances.bboxes = instances.masks.get_bboxes(dst_type='hbox').tensor.to(instances.labels.device)


def _copy_of(sample: Any) -> Any:
    """A copy of a data sample with instances of its own: some heads write into them (RTMDet-Ins the masks)."""
    copy = sample.new()
    for name, value in sample.items():
        if isinstance(value, InstanceData):
            setattr(copy, name, value.new())
    return copy


def _halvings(stride: float, target: float) -> int:
    """How often a map is halved to come nearest to another stride (YOLACT's are 7.97, 15.7, 30.6, 61.1 and 110)."""
    return round(math.log2(target / stride))


def _downsampling(channels: int, halvings: int) -> nn.Sequential:
    """3x3 convolutions of stride 2 (none, where there is nothing to halve)."""
    return nn.Sequential(*(ConvModule(channels, channels, 3, stride=2, padding=1) for _ in range(halvings)))
