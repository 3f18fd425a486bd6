import copy

import pytest
import torch
from lean_losses import REDUCTIONS, assert_equal_losses, value_and_gradient
from mmdet.models.losses import FocalLoss
from scenarios.training import build_model, optim_wrapper_for, train
from torch.testing import assert_close

from mmman.costs import LiveBytes
from mmman.memory import LeanFocalLoss, chunks
from mmman.testing import tiny_batch, tiny_retinanet

N, C = 23, 5
WEIGHTS = {'none': None, 'N': (N,), 'N1': (N, 1), 'NC': (N, C), 'flat': (N * C,)}


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks, the last one shorter."""
    monkeypatch.setattr(chunks, 'CPU_ELEMENTS', 4 * C + 3)


def logits(dtype=torch.float32):
    return torch.randn(N, C, dtype=dtype) * 4


def indices(n=N, classes=C):
    return torch.randint(0, classes + 1, (n,))


def assert_equal_to_mmdet(pred, *args, loss=None, **kwargs):
    ours, theirs = (kind(**(loss or {})) for kind in (LeanFocalLoss, FocalLoss))
    assert_equal_losses(ours, theirs, pred, *args, **kwargs)


@pytest.mark.usefixtures('small_chunks')
@pytest.mark.parametrize('weight', WEIGHTS)
@pytest.mark.parametrize(('reduction', 'avg_factor'), REDUCTIONS)
def test_equals_mmdets(weight, reduction, avg_factor):
    shape = WEIGHTS[weight]
    weight = None if shape is None else torch.rand(shape)
    assert_equal_to_mmdet(logits(), indices(), weight, avg_factor, loss=dict(reduction=reduction, loss_weight=0.7))
    assert_equal_to_mmdet(logits(), indices(), weight, avg_factor, reduction)


@pytest.mark.usefixtures('small_chunks')
@pytest.mark.parametrize('alpha', [0.25, 0.6])
@pytest.mark.parametrize('gamma', [0, 0.5, 1.0, 1.7, 2, 3.0])
def test_equals_mmdets_for_every_gamma_and_alpha(gamma, alpha):
    assert_equal_to_mmdet(logits(), indices(), torch.rand(N), 9.0, loss=dict(gamma=gamma, alpha=alpha))


@pytest.mark.usefixtures('small_chunks')
@pytest.mark.parametrize('dtype', [torch.long, torch.float32])
def test_takes_one_hot_labels(dtype):
    pred, target = logits(), indices()
    one_hot = torch.nn.functional.one_hot(target, C + 1)[:, :C].to(dtype)
    assert_equal_to_mmdet(pred, one_hot)
    assert_close(LeanFocalLoss()(pred, one_hot), LeanFocalLoss()(pred, target))


@pytest.mark.usefixtures('small_chunks')
def test_takes_soft_labels():
    assert_equal_to_mmdet(logits(), torch.rand(N, C), torch.rand(N), loss=dict(gamma=1.7))


@pytest.mark.parametrize('gamma', [0, 0.5, 1, 2.0, 2.5])
def test_extreme_logits(gamma):
    pred = torch.tensor([[100.0, -100.0], [1e4, -1e4], [0.0, -0.0], [30.0, -30.0]]).repeat(3, 1)
    target = torch.tensor([0, 1, 2]).repeat_interleave(4)
    value, grad = value_and_gradient(LeanFocalLoss(gamma=gamma), pred, target)
    assert value.isfinite() and grad.isfinite().all()
    if gamma >= 1:  # mmdet's gradient is NaN below
        assert_equal_to_mmdet(pred, target, loss=dict(gamma=gamma))


@pytest.mark.parametrize('logit', [-40.0, -12.0, 12.0, 40.0])
@pytest.mark.parametrize('label', [0, 1])
def test_confident_logits_keep_their_precision(logit, label):
    # mmdet's 1 - sigmoid(12) has three digits, and 1 - sigmoid(40) none.
    pred, target = torch.full((1, 1), logit), torch.tensor([label])
    value, grad = value_and_gradient(LeanFocalLoss(gamma=1.0, reduction='sum'), pred, target)
    expected = value_and_gradient(LeanFocalLoss(gamma=1.0, reduction='sum'), pred.double(), target)
    assert_close((value.double(), grad.double()), expected, rtol=1e-5, atol=0)
    assert grad.all()


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_no_rows(reduction):
    pred, target = torch.empty(0, C), indices(0)
    ours = value_and_gradient(LeanFocalLoss(), pred, target, torch.empty(0), reduction_override=reduction)
    theirs = value_and_gradient(FocalLoss(), pred, target, torch.empty(0), reduction_override=reduction)
    assert_close(ours, theirs, equal_nan=True)  # the mean of nothing
    assert LeanFocalLoss()(pred, target, avg_factor=1.0) == 0


@pytest.mark.usefixtures('small_chunks')
@pytest.mark.parametrize('gamma', [0.5, 2.0, 2.5])
@pytest.mark.parametrize('reduction', ['none', 'sum'])
def test_gradient_by_differences(gamma, reduction):
    loss, target, weight = LeanFocalLoss(gamma=gamma, reduction=reduction), indices(), torch.rand(N, dtype=torch.double)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weight), logits(torch.double).requires_grad_())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_calculated_in_float32(dtype):
    pred, target = (50 * torch.ones(3000, 40)).to(dtype), indices(3000, 40)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value, grad = value_and_gradient(LeanFocalLoss(reduction='sum'), pred, target)
    expected, expected_grad = value_and_gradient(FocalLoss(reduction='sum'), pred.float(), target)
    assert expected > torch.finfo(torch.float16).max
    assert_close(value, expected, rtol=2e-6, atol=0)
    assert_close(grad, expected_grad.to(dtype))


def test_a_gradient_has_the_layout_of_its_logits():
    pred = torch.randn(C, N).t().requires_grad_()
    assert_equal_to_mmdet(pred, indices())


def bytes_above_inputs(loss, num=80000, classes=80):
    """Bytes kept for the backward pass and their peak over both passes, in sizes of the logits."""
    pred, target, weight = torch.randn(num, classes, requires_grad=True), indices(num, classes), torch.ones(num)
    with LiveBytes([pred, target, weight]) as live:
        start = live.current
        value = loss(pred, target, weight, avg_factor=10.0)
        kept = live.current - start
        value.backward()
    size = pred.numel() * pred.element_size()
    return kept / size, (live.peak - start) / size


def test_live_bytes():
    kept, peak = bytes_above_inputs(LeanFocalLoss())
    assert kept < 0.001
    assert 1 < peak < 1.2  # the gradient and a chunk
    kept, peak = bytes_above_inputs(FocalLoss())
    assert kept > 6
    assert peak > 6


def retinanet(loss, num_blocks):
    cfg = tiny_retinanet(num_blocks)
    heads = [cfg.bbox_head] if num_blocks is None else [cfg.bbox_head, cfg.backbone.local_head.head]
    for head in heads:
        assert head.loss_cls.type == 'FocalLoss'
        head.loss_cls.type = loss
    return build_model(cfg)


def test_retinanet_has_the_same_losses_and_gradients():
    # In double precision, where rounding hides nothing: in single, mmdet's own gradients are off by up to 4e-5.
    losses, gradients = [], []
    for loss in ('FocalLoss', 'mmman.LeanFocalLoss'):
        model = retinanet(loss, None).double()
        data = model.data_preprocessor(copy.deepcopy(tiny_batch()), training=True)
        data['inputs'] = data['inputs'].double()
        total, log = model.parse_losses(model(**data, mode='loss'))
        total.backward()
        losses.append(log)
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert type(model.bbox_head.loss_cls) is LeanFocalLoss
    assert_close(losses[1], losses[0], rtol=1e-12, atol=0)
    for name, expected in gradients[0].items():
        assert_close(gradients[1][name], expected, rtol=0, atol=1e-11 * expected.abs().max().item(), msg=name)
    assert gradients[0]['bbox_head.retina_cls.bias'].abs().max() > 1e-3


def test_local_learning_goes_the_same_way():
    logs, updates = [], []
    for loss in ('FocalLoss', 'mmman.LeanFocalLoss'):
        model = retinanet(loss, 4)
        before = copy.deepcopy(dict(model.named_parameters()))
        logs.append(train(model, optim_wrapper_for(model), [tiny_batch(0), tiny_batch(1)]))
        updates.append({name: (p - before[name]).detach() for name, p in model.named_parameters()})
    assert_close(logs[1], logs[0], rtol=1e-4, atol=1e-6)
    for name, expected in updates[0].items():
        assert_close(updates[1][name], expected, rtol=0, atol=2e-3 * expected.abs().max().item(), msg=name)


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(use_sigmoid=False), 'use_sigmoid must be True and activated False, got False and False'),
        (dict(activated=True), 'got True and True'),
        (dict(gamma=-1), 'gamma must be at least 0, got -1'),
        (dict(reduction='max'), "must be 'none', 'mean' or 'sum', got 'max'"),
    ],
)
def test_wrong_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        LeanFocalLoss(**arguments)


@pytest.mark.parametrize(
    ('target', 'arguments', 'text'),
    [
        (indices(N - 1), dict(), r'got \(23, 5\) and \(22,\)'),
        (torch.rand(N), dict(), 'integers, got torch.float32'),
        (torch.full((N,), C + 1), dict(), r'must lie in \[0, 5\] .* got 6 to 6'),
        (torch.full((N,), -1), dict(), 'got -1 to -1'),
        (indices(), dict(weight=torch.rand(N + 1)), r'got \(24,\)'),
        (indices(), dict(weight=torch.rand(N, requires_grad=True)), 'no gradient to weight'),
        (torch.rand(N, C, requires_grad=True), dict(), 'no gradient to target'),
        (indices(), dict(avg_factor=1.0, reduction_override='sum'), 'avg_factor can not be used'),
        (indices(), dict(reduction_override='max'), "got 'max'"),
    ],
)
def test_wrong_inputs_are_named(target, arguments, text):
    with pytest.raises(ValueError, match=text):
        LeanFocalLoss()(logits(), target, **arguments)
