import numpy as np
import pytest
import torch
from mmdet.structures import ReIDDataSample, TrackDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from mmman.local_heads import BlockOutput, DetectionLocalHead, Position
from mmman.testing import tiny_batch, tiny_retinanet

STRIDES = [8, 16, 32, 64, 128]
RETINA = tiny_retinanet(4).backbone.local_head
FCOS = dict(
    type='FCOSHead',
    num_classes=3,
    feat_channels=16,
    stacked_convs=1,
    norm_cfg=None,
    strides=STRIDES,
    regress_ranges=((-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8)),
)


def output(x_stride, y_stride, size=128, x_channels=8, y_channels=16, batch=1):
    return BlockOutput(
        x=torch.rand(batch, x_channels, size // x_stride, size // x_stride),
        y=torch.rand(batch, y_channels, size // y_stride, size // y_stride),
        inputs=torch.rand(batch, 3, size, size),
    )


def build(x_stride, y_stride, is_last=False, **kwargs):
    arguments = dict(head=RETINA.head, channels=16, train_cfg=RETINA.train_cfg)
    position = Position(3 if is_last else 1, 4)
    return DetectionLocalHead(example=output(x_stride, y_stride), position=position, **{**arguments, **kwargs})


@pytest.mark.parametrize(
    ('x_stride', 'y_stride', 'kwargs', 'strides'),
    [
        (4, 8, dict(), [8]),
        (8, 16, dict(own_stride=False), [16]),
        (8, 16, dict(own_stride=True), [8, 16]),
        (16, 32, dict(is_last=True, own_stride=False), [32, 64, 128]),
        (16, 32, dict(is_last=True, own_stride=True), [16, 32, 64, 128]),
        (8, 8, dict(own_stride=True), [8]),  # cut inside a stage: y is at x's stride already
        (4, 4, dict(own_stride=True), [8]),  # finer than the pyramid: a convolution of stride 2 leads there
        (8, 16, dict(own_stride=False, num_levels=2), [16, 32]),
    ],
)
def test_levels_fit_the_block(x_stride, y_stride, kwargs, strides):
    head = build(x_stride, y_stride, **kwargs)
    assert head.strides == strides
    assert [s[0] for s in head.head.prior_generator.strides] == strides
    levels = head.levels(output(x_stride, y_stride, size=256))
    assert [tuple(level.shape) for level in levels] == [(1, 16, 256 // s, 256 // s) for s in strides]


def test_anchors_have_the_size_of_their_stride():
    sizes = build(8, 16, own_stride=False).head.prior_generator.base_anchors[0]
    side = (sizes[:, 2:] - sizes[:, :2]).prod(dim=1).sqrt()
    assert side.min() == pytest.approx(4 * 16) and side.max() == pytest.approx(4 * 16 * 2 ** (2 / 3))


def test_any_dense_head_with_strides_serves():
    head = build(8, 16, head=FCOS, train_cfg=None, own_stride=True)
    assert head.head.strides == [8, 16] and head.head.regress_ranges == [(-1, 64), (64, 128)]
    data_samples = tiny_batch()['data_samples']
    for sample in data_samples:
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor  # as mmdet's data preprocessor hands them on
    losses = head.loss(output(8, 16, size=96, batch=2), data_samples)
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_centerness'}


def test_fractional_strides_are_those_of_the_block():
    anchors = dict(type='AnchorGenerator', ratios=[1.0], scales=[4], strides=[550 / n for n in (69, 35, 18, 9, 5)])
    head = dict(RETINA.head, anchor_generator=anchors)
    heads = [build(2 ** (i + 1), 2 ** (i + 2), head=head, is_last=i == 3) for i in (1, 2, 3)]
    assert [len(head.strides) for head in heads] == [1, 1, 3]
    for local, stride in zip(heads, (8, 16, 32), strict=True):
        assert local.strides[0] == pytest.approx(stride, rel=0.05) and len(local.to_first) == 0
    assert [len(step) for step in heads[2].to_next] == [1, 1]


def test_a_pyramid_that_begins_with_the_coarsest_level():
    ranges = FCOS['regress_ranges'][::-1]
    head = build(16, 32, is_last=True, train_cfg=None, head=dict(FCOS, strides=STRIDES[::-1], regress_ranges=ranges))
    assert head.strides == [32, 64, 128]
    assert head.head.strides == [128, 64, 32] and head.head.regress_ranges == list(ranges[:3])
    seen = []
    head.head.register_forward_hook(lambda module, given, result: seen.extend(x.shape[-1] for x in given[0]))
    head.loss(output(16, 32, size=256), sample_of(1))
    assert seen == [2, 4, 8]


def sample_of(*labels):
    """One image with an object of each class."""
    (sample,) = tiny_batch(num_items=(len(labels),))['data_samples']
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10.0, 90.0, 90.0]]).repeat(len(labels), 1), labels=torch.tensor(labels)
    )
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    return [sample]


def test_a_head_of_one_class_sees_every_object_as_that_class():
    rpn = dict(type='RPNHead', feat_channels=16, anchor_generator=RETINA.head.anchor_generator)
    head, out = build(8, 16, head=rpn), output(8, 16)
    samples = sample_of(2)
    losses, expected = head.loss(out, samples), head.loss(out, sample_of(0))
    assert expected['loss_rpn_bbox'][0] > 0
    assert all(torch.equal(a, b) for key in expected for a, b in zip(losses[key], expected[key], strict=True))
    assert samples[0].gt_instances.labels.tolist() == [2]  # the caller's targets are left as they were


@pytest.mark.parametrize(
    ('data_samples', 'name'),
    [
        ([TrackDataSample()], 'TrackDataSample'),
        ([ReIDDataSample()], 'ReIDDataSample'),
        (dict(sup=[], unsup=[]), 'dict'),
        (None, 'NoneType'),
    ],
)
def test_targets_without_boxes_are_refused(data_samples, name):
    with pytest.raises(ValueError, match=f'the model is given {name}: train models with several data streams') as error:
        build(8, 16).loss(output(8, 16), data_samples)
    assert '\n' not in str(error.value)


def plain_samples():
    """As mmdet's data preprocessor hands them on: with boxes as tensors."""
    data_samples = tiny_batch()['data_samples']
    for sample in data_samples:
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor
    return data_samples


def same_losses(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        assert torch.equal(
            torch.stack([*map(torch.as_tensor, value)]), torch.stack([*map(torch.as_tensor, other[name])])
        )


def test_the_frames_of_a_video_are_single_images():
    head, seen, samples = build(8, 16), output(8, 16, size=96, batch=2), plain_samples()
    video = TrackDataSample()
    video.video_data_samples = samples
    same_losses(head.loss(seen, [video]), head.loss(seen, samples))
    with pytest.raises(ValueError, match='objects of 4 images, but the backbone has seen 1 of them'):
        head.loss(output(8, 16, size=96), [video, video])


def test_a_backbone_that_sees_one_frame_of_each_video_learns_from_the_key_frame():
    head, seen, samples = build(8, 16), output(8, 16, size=96), plain_samples()
    video = TrackDataSample(metainfo=dict(key_frames_inds=[1], ref_frames_inds=[0]))
    video.video_data_samples = samples
    same_losses(head.loss(seen, [video]), head.loss(seen, samples[1:]))


def test_what_a_head_writes_into_its_samples_reaches_no_other():
    head, samples = build(8, 16), plain_samples()

    def spoil(levels, data_samples):
        for sample in data_samples:
            sample.gt_instances.labels = sample.gt_instances.labels - 1
        return {}

    head.head.loss = spoil
    before = [sample.gt_instances.labels for sample in samples]
    head.loss(output(8, 16, size=96, batch=2), samples)
    assert all(sample.gt_instances.labels is labels for sample, labels in zip(samples, before, strict=True))


def test_masks_without_boxes_are_boxed_in():
    head, seen, samples = build(8, 16), output(8, 16, size=96, batch=2), plain_samples()
    for sample in samples:
        masks = np.zeros((len(sample.gt_instances), 96, 96), dtype=np.uint8)
        boxes = sample.gt_instances.bboxes.round().clamp(0, 96)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample.gt_instances.masks = BitmapMasks(masks, 96, 96)
        sample.gt_instances.bboxes = boxes
    expected = head.loss(seen, samples)
    for sample in samples:
        del sample.gt_instances.bboxes
    same_losses(head.loss(seen, samples), expected)
    assert 'bboxes' not in samples[0].gt_instances  # the model's own
    del samples[0].gt_instances.masks
    with pytest.raises(ValueError, match='gt_instances has neither'):
        head.loss(seen, samples)


def test_tokens_are_refused():
    tokens = BlockOutput(x=torch.rand(1, 5, 8), y=torch.rand(1, 5, 8), inputs=torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match='DetectionLocalHead needs feature maps'):
        DetectionLocalHead(head=FCOS, example=tokens, position=Position(1, 4))


def test_odd_image_sizes_keep_their_stride():
    head = build(8, 16, own_stride=True)
    example = BlockOutput(x=torch.rand(1, 8, 75, 125), y=torch.rand(1, 16, 38, 63), inputs=torch.rand(1, 3, 600, 1000))
    assert [tuple(level.shape[-2:]) for level in head.levels(example)] == [(75, 125), (38, 63)]


def boxes_of(size):
    return torch.tensor([[10.0, 10.0, 10.0 + size, 10.0 + size]])


@pytest.mark.parametrize('other_sizes', ['match', 'background', 'ignore'])
def test_objects_of_other_sizes(other_sizes):
    torch.manual_seed(0)
    head = build(8, 16, own_stride=False, other_sizes=other_sizes)  # sizes 64 to 128
    sample = tiny_batch(num_items=(1,))['data_samples'][0]
    sample.set_metainfo(dict(img_shape=(128, 128), pad_shape=(128, 128)))
    losses = {}
    for size in (16, 90):
        sample.gt_instances = InstanceData(bboxes=boxes_of(size), labels=torch.zeros(1, dtype=torch.long))
        out = output(8, 16)
        losses[size] = sum(v.sum() for v in head.loss(out, [sample])['loss_bbox'])
    assert losses[90] > 0
    assert (losses[16] > 0) == (other_sizes == 'match')
    assert len(sample.gt_instances) == 1  # the caller's targets are left as they were


def test_ignored_objects_are_not_background():
    torch.manual_seed(0)
    out = output(8, 16)
    sample = tiny_batch(num_items=(2,))['data_samples'][0]
    sample.set_metainfo(dict(img_shape=(128, 128), pad_shape=(128, 128)))
    # One object of this head's sizes, and one that is too large for it and covers everything else.
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0.0, 64.0, 64.0], [0.0, 0.0, 128.0, 128.0]]), labels=torch.zeros(2, dtype=torch.long)
    )
    counted = {}
    for other_sizes in ('background', 'ignore'):
        head = build(8, 16, own_stride=False, other_sizes=other_sizes)
        loss_by_feat = head.head.loss_cls.forward
        head.head.loss_cls.forward = lambda *args, counted=counted, o=other_sizes, f=loss_by_feat, **kwargs: (
            counted.setdefault(o, int((args[2] > 0).sum())),
            f(*args, **kwargs),
        )[1]
        head.loss(out, [sample])
    assert 0 < counted['ignore'] < counted['background']


@pytest.mark.parametrize(
    ('kwargs', 'text'),
    [
        (dict(other_sizes='drop'), "must be one of .*, got 'drop'"),
        (dict(num_levels=0), 'must be at least 1, got 0'),
        (dict(head=FCOS, train_cfg=None, other_sizes='ignore'), 'FCOSHead has none here'),
    ],
)
def test_wrong_arguments_are_named(kwargs, text):
    with pytest.raises(ValueError, match=text):
        build(8, 16, **kwargs)
