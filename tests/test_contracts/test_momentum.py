"""Contract 3: how LB and EMA start, when and how far EMA moves, and that s takes no weight decay."""

import copy

import pytest
import torch
from mmengine.runner import load_state_dict
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.auxiliary import MomentumAuxiliary
from mmman.models import find_local_backbone
from mmman.testing import tiny_batch, tiny_retinanet


def sources(model):
    """Pairs of auxiliary network and the segment it copies."""
    backbone = find_local_backbone(model)
    return [(backbone.local[f'block{b.index}'].auxiliary, backbone.sources(b)[0]) for b in backbone.blocks[:-1]]


@pytest.mark.parametrize('backbone', [{}, dict(frozen_stages=1, norm_eval=True)], ids=['plain', 'frozen'])
def test_copies_equal_their_source_at_the_start(backbone):
    for auxiliary, source in sources(build_model(tiny_retinanet(4, backbone))):
        assert_same_state(auxiliary.ema, source)
        assert_same_state(auxiliary.learnable_bias, source)
        assert auxiliary.scale.item() == 1


@pytest.mark.parametrize('load', [torch.nn.Module.load_state_dict, load_state_dict], ids=['torch', 'mmengine'])
def test_copies_equal_their_source_after_plain_weights_were_loaded(load):
    plain = build_model(tiny_retinanet(None), seed=1)
    train(plain, optim_wrapper_for(plain, local=False), [tiny_batch()])
    model = build_model(tiny_retinanet(4))
    with torch.no_grad():
        find_local_backbone(model).local['block1'].auxiliary.scale.fill_(0.5)
    load(model, plain.state_dict(), strict=False)
    for auxiliary, source in sources(model):
        assert_same_state(auxiliary.ema, source)
        assert_same_state(auxiliary.learnable_bias, source)
        assert auxiliary.scale.item() == 1
    assert torch.equal(model.backbone.layer2[0].conv1.weight, plain.backbone.layer2[0].conv1.weight)


def test_copies_equal_their_source_after_init_from_a_pretrained_backbone(tmp_path):
    plain = build_model(tiny_retinanet(None), seed=1)
    file = tmp_path / 'backbone.pth'
    torch.save(plain.backbone.state_dict(), file)
    model = build_model(tiny_retinanet(4, dict(init_cfg=dict(type='Pretrained', checkpoint=str(file)))))
    assert torch.equal(model.backbone.layer2[0].conv1.weight, plain.backbone.layer2[0].conv1.weight)
    for auxiliary, source in sources(model):
        assert_same_state(auxiliary.ema, source)
        assert_same_state(auxiliary.learnable_bias, source)


def test_a_full_checkpoint_keeps_the_copies_it_holds():
    model = build_model(tiny_retinanet(4))
    train(model, optim_wrapper_for(model), [tiny_batch()])
    other = build_model(tiny_retinanet(4), seed=1)
    other.load_state_dict(model.state_dict())
    assert_same_state(other, model)


def test_random_init_is_drawn_apart_from_the_source():
    cfg = tiny_retinanet(4, auxiliary=dict(type='mmman.MomentumAuxiliary', init='random'))
    for auxiliary, source in sources(build_model(cfg)):
        weights = [m.conv1.weight for m in (auxiliary.ema, auxiliary.learnable_bias, source)]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            cosine = torch.nn.functional.cosine_similarity(weights[a].flatten(), weights[b].flatten(), dim=0)
            assert cosine.abs() < 0.2


@pytest.mark.parametrize('momentum', [0.0, 0.9, 0.995, 1.0])
def test_ema_takes_the_source_of_before_the_sources_step_after_its_own_blocks_step(momentum):
    model = build_model(tiny_retinanet(4, auxiliary=dict(type='mmman.MomentumAuxiliary', momentum=momentum)))
    with torch.no_grad():  # apart from the source, so that an update shows
        for auxiliary, _ in sources(model):
            for p in auxiliary.ema.parameters():
                p.add_(1)
    before = [
        ([p.clone() for p in aux.ema.parameters()], [p.clone() for p in source.parameters()])
        for aux, source in sources(model)
    ]
    train(model, optim_wrapper_for(model), [tiny_batch()])
    for (auxiliary, source), (old_ema, old_source) in zip(sources(model), before, strict=True):
        assert any(not torch.equal(p, old) for p, old in zip(source.parameters(), old_source, strict=True))
        for p, ema, weight in zip(auxiliary.ema.parameters(), old_ema, old_source, strict=True):
            torch.testing.assert_close(p, momentum * ema + (1 - momentum) * weight)


def test_ema_is_not_touched_between_its_forward_and_its_backward():
    model = build_model(tiny_retinanet(4))
    auxiliary = find_local_backbone(model).local['block1'].auxiliary
    seen = []
    take = lambda *_: seen.append(auxiliary.ema.conv1.weight.clone())  # noqa: E731
    auxiliary.ema.register_forward_hook(take)
    auxiliary.ema.register_full_backward_hook(take)
    # From the second step on the source has moved away from EMA, so that every update shows.
    train(model, optim_wrapper_for(model, optimizer=dict(type='SGD', lr=0.1)), [tiny_batch(i) for i in range(3)])
    before, after = seen[0::2], seen[1::2]
    assert len(before) == len(after) == 3
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.equal(before[1], before[2])


def test_ema_moves_once_per_optimizer_step_under_accumulation():
    model = build_model(tiny_retinanet(4))
    optim_wrapper = optim_wrapper_for(model, accumulative_counts=3)
    optim_wrapper.initialize_count_status(model, 0, 7)
    auxiliary = find_local_backbone(model).local['block2'].auxiliary
    calls = []
    update = auxiliary.update
    auxiliary.update = lambda source: (calls.append(optim_wrapper['block2'].inner_count), update(source))
    train(model, optim_wrapper, [tiny_batch(i) for i in range(7)])
    assert calls == [3, 6, 7]  # the last, partial window included


def test_the_scale_takes_no_weight_decay():
    model = build_model(tiny_retinanet(4))
    optim_wrapper = optim_wrapper_for(model, optimizer=dict(type='SGD', lr=0.1, weight_decay=10.0))
    scales = {auxiliary.scale for auxiliary, _ in sources(model)}
    groups = [g for w in optim_wrapper.values() for g in w.optimizer.param_groups if scales & set(g['params'])]
    assert len(groups) == 3 and all(g['weight_decay'] == 0 for g in groups)
    assert all(set(g['params']) <= scales for g in groups)


def test_buffers_of_ema_are_its_own_statistics():
    model = build_model(tiny_retinanet(4))
    auxiliary, source = sources(model)[0]
    train(model, optim_wrapper_for(model), [tiny_batch()])
    assert auxiliary.ema.bn1.num_batches_tracked == 1
    # It has seen the same features as the source, but with weights of its own, which then were moved: what counts is
    # that update() leaves buffers alone.
    before = copy.deepcopy(dict(auxiliary.ema.named_buffers()))
    with torch.no_grad():
        source.bn1.running_mean.add_(5)
    auxiliary.update([source])
    for name, buffer in auxiliary.ema.named_buffers():
        assert torch.equal(buffer, before[name])


@pytest.mark.parametrize(
    ('switches', 'expected'),
    [
        (dict(), lambda lb, ema, s, x: s * lb + (2 - s) * ema),
        (dict(scale=False), lambda lb, ema, s, x: lb + ema),
        (dict(ema=False), lambda lb, ema, s, x: lb),
        (dict(learnable_bias=False), lambda lb, ema, s, x: ema),
        (dict(ema=False, learnable_bias=False), lambda lb, ema, s, x: x),
    ],
    ids=['MAN++', 'MAN', 'LB only', 'EMA only', 'host'],
)
def test_switches_give_the_rows_of_the_ablation(switches, expected):
    source = torch.nn.Conv2d(4, 4, 3, padding=1)
    auxiliary = MomentumAuxiliary([source], **switches)
    if auxiliary.learnable_bias is not None:
        torch.nn.init.normal_(auxiliary.learnable_bias.weight)
    s = torch.tensor(1.0)
    if auxiliary.scale is not None:
        auxiliary.scale.data.fill_(0.25)
        s = auxiliary.scale
    x = torch.rand(2, 4, 5, 5)
    lb = auxiliary.learnable_bias(x) if auxiliary.learnable_bias is not None else None
    ema = auxiliary.ema(x) if auxiliary.ema is not None else None
    torch.testing.assert_close(auxiliary(x), expected(lb, ema, s, x))


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (dict(momentum=1.5), r'must lie in \[0, 1\], got 1.5'),
        (dict(init='zeros'), "must be one of .*, got 'zeros'"),
        (dict(ema=False, scale=True), 'balances two branches, got ema=False'),
    ],
)
def test_wrong_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=text):
        MomentumAuxiliary([torch.nn.Conv2d(1, 1, 1)], **arguments)
