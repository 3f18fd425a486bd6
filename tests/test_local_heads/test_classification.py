import pytest
import torch
from mmpretrain.structures import DataSample
from scenarios.training import build_model, optim_wrapper_for
from torch import nn

from mmman.local_heads import BlockOutput, ClassificationLocalHead, DGLLocalHead, InfoProClassifier, Position
from mmman.models import find_local_backbone
from mmman.testing import tiny_classifier, tiny_cls_batch

HEAD = dict(type='mmpretrain.LinearClsHead', num_classes=3)
MAPS = BlockOutput(x=torch.rand(4, 8, 16, 16), y=torch.rand(4, 12, 16, 16), inputs=torch.rand(4, 3, 32, 32))
TOKENS = BlockOutput(x=torch.rand(4, 17, 8), y=torch.rand(4, 17, 8), inputs=torch.rand(4, 3, 32, 32))
SAMPLES = [DataSample().set_gt_label(i % 3) for i in range(4)]
FIRST = Position(1, 4)


def cross_entropy(logits):
    return nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))


def test_greedy_is_a_linear_classifier_on_the_average_of_y():
    head = ClassificationLocalHead(HEAD, MAPS, FIRST)
    assert [name for name, _ in head.named_parameters()] == ['head.fc.weight', 'head.fc.bias']
    losses = head.loss(MAPS, SAMPLES)
    torch.testing.assert_close(losses, {'loss': cross_entropy(head.head.fc(MAPS.y.mean(dim=(2, 3))))})


def test_of_tokens_it_takes_the_first_after_a_norm():
    head = ClassificationLocalHead(HEAD, TOKENS, FIRST)
    normed = nn.functional.layer_norm(TOKENS.y[:, 0], (8,))
    torch.testing.assert_close(head.loss(TOKENS, SAMPLES), {'loss': cross_entropy(head.head.fc(normed))})


def test_of_tokens_without_a_class_token_it_takes_the_average():
    """As mmpretrain's ``out_type='avg_featmap'``: the norm comes last."""
    head = ClassificationLocalHead(HEAD, TOKENS, Position(1, 4, extra_tokens=0))
    normed = nn.functional.layer_norm(TOKENS.y.mean(dim=1), (8,))
    torch.testing.assert_close(head.loss(TOKENS, SAMPLES), {'loss': cross_entropy(head.head.fc(normed))})


@pytest.mark.parametrize('with_cls_token', [True, False])
def test_a_vision_transformer_says_whether_it_has_a_class_token(with_cls_token):
    cfg = tiny_classifier('vit', 4)
    cfg.backbone.backbone.update(with_cls_token=with_cls_token, out_type='avg_featmap')
    model = build_model(cfg)
    head = find_local_backbone(model).local['block1'].head
    tokens = torch.randn(2, 16 + with_cls_token, 32)
    changed = tokens.clone()
    changed[:, 5] = torch.randn(32)  # a patch
    assert head.to_vector(tokens).equal(head.to_vector(changed)) == with_cls_token
    losses = model.train_step(tiny_cls_batch(), optim_wrapper_for(model))
    assert losses['loss'].isfinite()


@pytest.mark.parametrize('options', [dict(convs=[(8, 3, 1)]), dict(pool=8)])
def test_convolutions_on_tokens_are_refused(options):
    with pytest.raises(ValueError, match=r'needs feature maps .*, but y are tokens of shape \(4, 17, 8\)'):
        ClassificationLocalHead(HEAD, TOKENS, FIRST, **options)


@pytest.mark.parametrize('cls', [DGLLocalHead, InfoProClassifier])
def test_heads_with_convolutions_refuse_tokens_by_their_own_name(cls):
    with pytest.raises(ValueError, match=f'{cls.__name__} needs feature maps'):
        cls(HEAD, example=TOKENS, position=FIRST)


def test_hidden_layers_work_on_tokens():
    head = ClassificationLocalHead(HEAD, TOKENS, FIRST, hidden=[6, 5], hidden_norm=True)
    assert [m.out_features for m in head.hidden if isinstance(m, nn.Linear)] == [6, 5]
    assert head.head.fc.in_features == 5
    assert head.loss(TOKENS, SAMPLES)['loss'].isfinite()


def test_pool_convolutions_average_hidden_layers_in_this_order():
    head = ClassificationLocalHead(HEAD, MAPS, FIRST, pool=4, convs=[(10, 1, 1), (6, 3, 2)], hidden=[5])
    shapes = []
    for module in [*head.to_vector, *head.hidden]:
        module.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape[1:])))
    head.loss(MAPS, SAMPLES)
    assert shapes == [(12, 4, 4), (10, 4, 4), (6, 2, 2), (6, 1, 1), (6,), (5,), (5,)]


@pytest.mark.parametrize('channels', [16, 64])
def test_dgl_has_064_million_parameters_whatever_the_width(channels):
    example = BlockOutput(x=MAPS.x, y=torch.rand(4, channels, 16, 16), inputs=MAPS.inputs)
    head = DGLLocalHead(dict(HEAD, num_classes=10), example=example, position=FIRST)
    assert sum(p.numel() for p in head.parameters()) == pytest.approx(0.64e6, rel=0.02)


@pytest.mark.parametrize(('channels', 'width', 'stride'), [(16, 32, 2), (32, 64, 2), (64, 64, 1), (128, 64, 1)])
@pytest.mark.parametrize('num_convs', [1, 2])
def test_infopro_classifier_has_the_widths_of_the_method(channels, width, stride, num_convs):
    example = BlockOutput(x=MAPS.x, y=torch.rand(4, channels, 16, 16), inputs=MAPS.inputs)
    head = InfoProClassifier(HEAD, example, num_convs=num_convs, position=FIRST)
    convs = [m for m in head.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.stride[0]) for c in convs] == [(width, stride), *(num_convs - 1) * [(width, 1)]]
    assert head.head.fc.in_features == 128


def test_gradients_reach_y_and_all_parameters():
    y = MAPS.y.clone().requires_grad_()
    head = DGLLocalHead(HEAD, example=MAPS, position=FIRST)
    head.loss(BlockOutput(x=MAPS.x, y=y, inputs=MAPS.inputs), SAMPLES)['loss'].backward()
    assert y.grad.abs().sum() > 0
    assert all(p.grad is not None for p in head.parameters())
