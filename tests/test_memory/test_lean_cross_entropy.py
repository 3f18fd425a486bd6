import copy

import pytest
import torch
from lean_losses import REDUCTIONS, assert_equal_losses, value_and_gradient
from mmseg.models.losses import CrossEntropyLoss
from scenarios.training import build_model, optim_wrapper_for, train
from torch.testing import assert_close

from mmman.costs import LiveBytes
from mmman.memory import LeanCrossEntropyLoss, chunks
from mmman.testing.segmentation import tiny_seg_batch, tiny_segmentor

C, IGNORED = 5, 255
SHAPE = (2, C, 7, 9)
CLASS_WEIGHT = [0.5, 1.0, 2.0, 0.0, 3.0]

pytestmark = pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks in an image, the last one shorter."""
    monkeypatch.setattr(chunks, 'CPU_ELEMENTS', 10 * C + 3)


def logits(shape=SHAPE, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype) * 3


def labels(shape=SHAPE):
    label = torch.randint(0, shape[1], shape[:1] + shape[2:])
    return label.masked_fill(torch.rand(label.shape) < 0.3, IGNORED)


def assert_equal_to_mmseg(pred, *args, loss=None, **kwargs):
    ours, theirs = (kind(**(loss or {})) for kind in (LeanCrossEntropyLoss, CrossEntropyLoss))
    assert_equal_losses(ours, theirs, pred, *args, **{'ignore_index': IGNORED, **kwargs})


@pytest.mark.usefixtures('small_chunks')
@pytest.mark.parametrize('weight', [None, (2, 7, 9), (2, 1, 9)])
@pytest.mark.parametrize(('class_weight', 'avg_non_ignore'), [(None, False), (None, True), (CLASS_WEIGHT, False)])
@pytest.mark.parametrize(('reduction', 'avg_factor'), REDUCTIONS)
def test_equals_mmsegs(weight, class_weight, avg_non_ignore, reduction, avg_factor):
    weight = None if weight is None else torch.rand(weight)
    loss = dict(class_weight=class_weight, avg_non_ignore=avg_non_ignore, loss_weight=0.7)
    assert_equal_to_mmseg(logits(), labels(), weight, avg_factor, loss=dict(reduction=reduction, **loss))
    assert_equal_to_mmseg(logits(), labels(), weight, avg_factor, reduction, loss=loss)


@pytest.mark.usefixtures('small_chunks')
@pytest.mark.parametrize('shape', [(23, C), (3, C, 23), (2, C, 3, 5, 4), (0, C, 4, 4), (2, C, 0, 4), (2, 1, 4, 4)])
def test_shapes(shape):
    assert_equal_to_mmseg(logits(shape), labels(shape))


@pytest.mark.usefixtures('small_chunks')
def test_layouts():
    assert_equal_to_mmseg(logits().to(memory_format=torch.channels_last), labels())
    assert_equal_to_mmseg(logits().transpose(2, 3).contiguous().transpose(2, 3), labels())  # a copy, as it has no view


@pytest.mark.usefixtures('small_chunks')
def test_class_weights_and_avg_non_ignore():
    # mmseg's raises IndexError, so by torch's own mean, which is over what is not ignored, by class weight.
    pred, label = logits(), labels()
    value = LeanCrossEntropyLoss(class_weight=CLASS_WEIGHT, avg_non_ignore=True)(pred, label, ignore_index=IGNORED)
    weight = torch.tensor(CLASS_WEIGHT)
    assert_close(value, torch.nn.functional.cross_entropy(pred, label, weight, ignore_index=IGNORED))


@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_everything_ignored(avg_non_ignore):
    label = torch.full((2, 7, 9), IGNORED)
    loss = dict(avg_non_ignore=avg_non_ignore)
    assert_equal_to_mmseg(logits(), label, loss=loss)
    value, grad = value_and_gradient(LeanCrossEntropyLoss(**loss), logits(), label, ignore_index=IGNORED)
    assert value == 0 and not grad.any()


def test_negative_ignore_index():
    label = labels()
    assert_equal_to_mmseg(logits(), label.masked_fill(label == IGNORED, -100), ignore_index=-100)


def test_extreme_logits():
    assert_equal_to_mmseg(100 * logits(), labels())
    value, grad = value_and_gradient(LeanCrossEntropyLoss(), 1e4 * logits(), labels(), ignore_index=IGNORED)
    assert value.isfinite() and grad.isfinite().all()


@pytest.mark.usefixtures('small_chunks')
@pytest.mark.parametrize('reduction', ['none', 'mean'])
def test_gradient_by_differences(reduction):
    shape = (2, C, 3, 5)
    loss = LeanCrossEntropyLoss(reduction=reduction, class_weight=CLASS_WEIGHT)
    label, weight = labels(shape), torch.rand(2, 3, 5)
    assert torch.autograd.gradcheck(
        lambda x: loss(x, label, weight, ignore_index=IGNORED), logits(shape, torch.double).requires_grad_()
    )


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_calculated_in_float32(dtype):
    shape = (1, C, 128, 128)
    pred, label = 30 * logits(shape).to(dtype), labels(shape)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value, grad = value_and_gradient(LeanCrossEntropyLoss(reduction='sum'), pred, label, ignore_index=IGNORED)
    expected, expected_grad = value_and_gradient(
        CrossEntropyLoss(reduction='sum'), pred.float(), label, ignore_index=IGNORED
    )
    assert expected > torch.finfo(torch.float16).max
    assert_close(value, expected, rtol=2e-6, atol=0)
    assert_close(grad, expected_grad.to(dtype))


def bytes_above_inputs(loss):
    """Bytes kept for the backward pass and their peak over both passes, in sizes of the logits."""
    shape = (2, 19, 512, 512)
    pred, label = logits(shape).requires_grad_(), labels(shape)
    with LiveBytes([pred, label]) as live:
        start = live.current
        value = loss(pred, label, ignore_index=IGNORED)
        kept = live.current - start
        value.backward()
    size = pred.numel() * pred.element_size()
    return kept / size, (live.peak - start) / size


def test_live_bytes():
    kept, peak = bytes_above_inputs(LeanCrossEntropyLoss())
    assert kept < 0.001
    assert 1 < peak < 1.1  # the gradient and a chunk
    kept, peak = bytes_above_inputs(CrossEntropyLoss())
    assert kept > 0.999
    assert peak > 2.9


def test_segmentor_in_blocks_goes_the_same_way():
    logs, updates = [], []
    for loss in ('CrossEntropyLoss', 'mmman.LeanCrossEntropyLoss'):
        cfg = tiny_segmentor(4)
        for head in (cfg.decode_head, cfg.auxiliary_head, cfg.backbone.local_head.head):
            head.loss_decode = dict(type=loss, loss_weight=0.4)
        model = build_model(cfg)
        before = copy.deepcopy(dict(model.named_parameters()))
        logs.append(train(model, optim_wrapper_for(model), [tiny_seg_batch(0), tiny_seg_batch(1)]))
        updates.append({name: (p - before[name]).detach() for name, p in model.named_parameters()})
    assert type(model.decode_head.loss_decode) is LeanCrossEntropyLoss
    assert 'decode.loss_ce' in logs[1][0]
    assert_close(logs[1], logs[0], rtol=1e-4, atol=1e-6)
    for name, expected in updates[0].items():
        # As a whole: where rounding flips a ReLU, which depends on the machine, single entries differ more.
        assert (updates[1][name] - expected).norm() <= 1e-3 * expected.norm(), name


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(use_sigmoid=True), 'use_sigmoid and use_mask must be False, got True and False'),
        (dict(use_mask=True), 'got False and True'),
        (dict(reduction='max'), "must be 'none', 'mean' or 'sum', got 'max'"),
    ],
)
def test_wrong_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        LeanCrossEntropyLoss(**arguments)


@pytest.mark.parametrize(
    ('label', 'arguments', 'text'),
    [
        (torch.zeros(2, 9, 7).long(), dict(), r'got \(2, 5, 7, 9\) and torch.int64 \(2, 9, 7\)'),
        (torch.zeros(2, 7, 9), dict(), r'got \(2, 5, 7, 9\) and torch.float32 \(2, 7, 9\)'),
        (labels(), dict(weight=torch.rand(2, 7)), r'the shape of the labels, \(2, 7, 9\), .* got \(2, 7\)'),
        (labels(), dict(weight=torch.rand(2, 7, 9, requires_grad=True)), 'no gradient to weight'),
        (labels(), dict(avg_factor=1.0, reduction_override='sum'), 'avg_factor can not be used'),
    ],
)
def test_wrong_inputs_are_named(label, arguments, text):
    with pytest.raises(ValueError, match=text):
        LeanCrossEntropyLoss()(logits(), label, ignore_index=IGNORED, **arguments)
