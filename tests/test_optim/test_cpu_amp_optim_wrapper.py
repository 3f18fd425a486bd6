"""Mixed precision on CPU: the arguments, loss scaling and state of AmpOptimWrapper, block by block."""

import copy
from functools import partial

import pytest
import torch
from mmengine.optim import AmpOptimWrapper
from scenarios.distributed_scenarios import overflow
from scenarios.training import assert_same_state, build_model, optim_wrapper_for, train

from mmman.models import find_local_backbone
from mmman.optim import CPUAmpOptimWrapper
from mmman.testing import tiny_batch, tiny_classifier, tiny_cls_batch, tiny_retinanet, tiny_seg_batch, tiny_segmentor

FLOAT16 = dict(type='AmpOptimWrapper', dtype='float16', loss_scale=dict(init_scale=2.0**10, growth_interval=2))
SCALED = 2.0**10
small_batch = partial(tiny_cls_batch, size=4, side=16)  # float16 is slow on CPU
HOSTS = ('infopro_softmax', 'infopro_contrast', 'dgl', 'predsim', 'auglocal')
MODELS = {
    'detector': (tiny_retinanet, tiny_batch),
    'segmentor': (tiny_segmentor, tiny_seg_batch),
    **{host: (lambda k, host=host: tiny_classifier('resnet', k, host), small_batch) for host in HOSTS},
}


def one_parameter(**options):
    param = torch.nn.Parameter(torch.ones(3))
    return param, CPUAmpOptimWrapper(optimizer=torch.optim.SGD([param], lr=0.1), **options)


def scales(wrapper):
    return [inner.loss_scaler.get_scale() for inner in wrapper.values()]


def moved_blocks(model, before):
    """The blocks of which some parameter is not what it was."""
    owners = find_local_backbone(model).block_of_parameters()
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return {owners.get(p, 4) for name, p in trainable if not torch.equal(p, before[name])}


@pytest.mark.parametrize('dtype', [None, 'bfloat16', 'float16', torch.float16])
def test_it_is_mmengine_s_wrapper_on_cpu(dtype):
    param, wrapper = one_parameter(dtype=dtype)
    assert isinstance(wrapper, AmpOptimWrapper)
    expected = torch.float16 if 'float16' in str(dtype) and 'bfloat16' not in str(dtype) else torch.bfloat16
    with wrapper.optim_context(torch.nn.Identity()):
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == expected
    assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.float32
    wrapper.update_params((param * torch.arange(3)).sum())
    torch.testing.assert_close(param.detach(), torch.tensor([1.0, 0.9, 0.8]))


@pytest.mark.parametrize(
    ('loss_scale', 'start', 'after_overflow'),
    [('dynamic', 2.0**16, 2.0**15), (512.0, 512, 512), (dict(init_scale=64.0, backoff_factor=0.25), 64, 16)],
)
def test_loss_scale_is_that_of_mmengine(loss_scale, start, after_overflow):
    param, wrapper = one_parameter(loss_scale=loss_scale)
    assert wrapper.loss_scaler.get_scale() == start
    wrapper.update_params(param.sum() * torch.inf)
    assert wrapper.loss_scaler.get_scale() == after_overflow
    assert torch.equal(param, torch.ones(3))


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="needs dtype='bfloat16' or 'float16', got 'float32'"):
        one_parameter(dtype='float32')
    with pytest.raises(TypeError, match="loss_scale must be 'dynamic', a float or a dict, got 512"):
        one_parameter(loss_scale=512)


@pytest.mark.skipif(torch.cuda.is_available(), reason='AmpOptimWrapper stays where there is an accelerator')
@pytest.mark.parametrize('kind', ['AmpOptimWrapper', AmpOptimWrapper])
def test_it_takes_the_place_of_mmengine_s_named_or_as_a_class(kind):
    wrapper = optim_wrapper_for(build_model(tiny_classifier('resnet', 2, 'dgl')), type=kind)
    assert all(type(inner) is CPUAmpOptimWrapper for inner in wrapper.values())


@pytest.mark.parametrize('name', MODELS)
def test_every_kind_of_local_loss_trains_in_float16(name):
    make_model, make_batch = MODELS[name]
    half, single = (build_model(make_model(4)) for _ in range(2))
    wrapper, expected = optim_wrapper_for(half, **FLOAT16), optim_wrapper_for(single)
    before = copy.deepcopy(half.state_dict())
    for model, its_wrapper in ((half, wrapper), (single, expected)):
        torch.manual_seed(0)  # dropout
        train(model, its_wrapper, [make_batch(0)])
    for key, value in expected.local_log_vars.items():
        if key.endswith('loss'):
            torch.testing.assert_close(wrapper.local_log_vars[key], value, rtol=0.02, atol=0.01, msg=key)
    train(half, wrapper, [make_batch(1)])
    assert moved_blocks(half, before) == {1, 2, 3, 4}
    assert scales(wrapper) == [2 * SCALED] * 4  # two steps without an overflow


@pytest.mark.parametrize('options', [{}, dict(clip_grad=dict(max_norm=1.0))], ids=['plain', 'clipping'])
@pytest.mark.parametrize('counts', [1, 2])
def test_an_overflow_skips_and_halves_its_own_block_only(options, counts):
    model = build_model(tiny_classifier(num_blocks=4))
    wrapper = optim_wrapper_for(model, accumulative_counts=counts, **FLOAT16, **options)
    before = copy.deepcopy(model.state_dict())
    with overflow(model, 2):
        train(model, wrapper, [small_batch(0)])
    train(model, wrapper, [small_batch(seed) for seed in range(1, counts)])  # to the end of the window
    assert moved_blocks(model, before) == {1, 3, 4}
    assert scales(wrapper) == [SCALED, SCALED / 2, SCALED, SCALED]
    # The next window goes on with all of them, and the scales grow block by block.
    before = copy.deepcopy(model.state_dict())
    train(model, wrapper, [small_batch(seed) for seed in range(counts)])
    assert moved_blocks(model, before) == {1, 2, 3, 4}
    assert scales(wrapper) == [2 * SCALED, SCALED / 2, 2 * SCALED, 2 * SCALED]


def test_clipping_sees_gradients_without_their_scale():
    """Clipped to the same norm as in single precision: a norm of scaled gradients would be a thousand times larger."""
    steps = []
    for options in ({}, dict(FLOAT16, dtype='bfloat16')):
        model = build_model(tiny_classifier(num_blocks=4))
        before = copy.deepcopy(model.state_dict())
        clipped = dict(clip_grad=dict(max_norm=0.01), optimizer=dict(type='SGD', lr=1.0))
        train(model, optim_wrapper_for(model, **options, **clipped), [small_batch()])
        owners = find_local_backbone(model).block_of_parameters()
        ways = [[] for _ in range(4)]
        for name, p in model.named_parameters():
            if p.requires_grad:
                ways[owners.get(p, 4) - 1].append((p.detach() - before[name]).flatten())
        steps.append([torch.cat(way).norm().item() for way in ways])
    for way in steps:
        assert way == pytest.approx([0.01] * 4, rel=1e-2)


def test_scales_are_saved_and_resumed_block_by_block():
    models = [build_model(tiny_classifier(num_blocks=4)) for _ in range(2)]
    wrappers = [optim_wrapper_for(model, **FLOAT16) for model in models]
    with overflow(models[0], 2):
        train(models[0], wrappers[0], [small_batch(0)])
    state = copy.deepcopy(wrappers[0].state_dict())
    assert [state[f'block{i}']['loss_scaler']['scale'] for i in range(1, 5)] == scales(wrappers[0])
    models[1].load_state_dict(models[0].state_dict())
    wrappers[1].load_state_dict(state)
    assert scales(wrappers[1]) == [SCALED, SCALED / 2, SCALED, SCALED]
    for model, wrapper in zip(models, wrappers, strict=True):
        train(model, wrapper, [small_batch(seed) for seed in (1, 2)])
    assert_same_state(models[1], models[0])
    # Blocks 1, 3 and 4 came to their second step without an overflow sooner.
    assert scales(wrappers[1]) == scales(wrappers[0]) == [2 * SCALED, SCALED, 2 * SCALED, 2 * SCALED]
