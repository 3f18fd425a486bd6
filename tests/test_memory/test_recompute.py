"""What ``recompute`` keeps and computes again, and that training on several processes does not notice."""

from functools import partial

import pytest
import torch
from scenarios.contracts import auxiliaries
from scenarios.distributed import on_processes
from scenarios.pipeline import train_replicas
from scenarios.training import build_model, optim_wrapper_for
from torch import nn

from mmman.costs import LiveBytes, tensors_of
from mmman.memory.recompute import recompute
from mmman.models import find_local_backbone
from mmman.testing import CASES, tiny_batch, tiny_retinanet


def layers(norm=nn.BatchNorm2d, **options):
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm(8, **options), nn.ReLU(), nn.Dropout(0.5))


def values_of(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


@pytest.mark.parametrize('norm', [nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize('momentum', [0.1, None])
def test_output_gradients_and_statistics_are_the_same(norm, momentum):
    module, x = layers(norm, momentum=momentum), torch.randn(2, 3, 8, 8)
    results = []
    for run in (module, lambda x: recompute(module, x, modules=[module])):
        module[1].reset_running_stats()
        module.zero_grad()
        torch.manual_seed(1)
        x.grad = None
        y = run(x.requires_grad_())
        y.square().sum().backward()
        drawn = torch.rand(3)  # the recomputation draws its own numbers and gives none of them away
        results.append([y, x.grad, *(p.grad for p in module.parameters()), *values_of(module).values(), drawn])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
    assert module[1].num_batches_tracked == 1


def test_only_input_and_output_are_kept():
    module, x = layers(), torch.randn(2, 3, 16, 16, requires_grad=True)
    with LiveBytes([x, *tensors_of(module)]) as live:
        start = live.current
        y = recompute(module, x, modules=[module])
    assert live.current - start == y.untyped_storage().nbytes()


def test_a_norm_in_eval_mode_is_left_alone():
    module, x = layers(), torch.randn(2, 3, 8, 8, requires_grad=True)
    module[1].eval()
    start, seen = values_of(module), []
    module[1].register_forward_hook(lambda norm, args, out: seen.append(norm.running_mean.data_ptr()))
    recompute(module, x, modules=[module]).sum().backward()
    assert len(seen) == 2 and seen[0] == seen[1]
    assert all(torch.equal(value, start[name]) for name, value in module.named_buffers())


def test_an_exception_in_the_recomputation_leaves_the_buffers_in_place():
    module, x = layers(), torch.randn(2, 3, 8, 8, requires_grad=True)
    calls = []

    def fail_the_second_time(x):
        calls.append(1)
        y = module(x)
        if len(calls) == 2:
            raise FloatingPointError('of the second forward')
        return y.exp()

    buffers = dict(module.named_buffers())
    y = recompute(fail_the_second_time, x, modules=[module])
    values = values_of(module)
    with pytest.raises(FloatingPointError):
        y.sum().backward()
    assert all(buffer is buffers[name] for name, buffer in module.named_buffers())
    assert all(torch.equal(buffer, values[name]) for name, buffer in module.named_buffers())


def test_one_branch_is_recomputed_after_the_other():
    auxiliary = auxiliaries(build_model(tiny_retinanet(2, with_cp=True)))[0][0]
    calls = []
    for name in ('learnable_bias', 'ema'):
        auxiliary.get_submodule(name).register_forward_pre_hook(partial(lambda name, *args: calls.append(name), name))
    auxiliary(torch.randn(2, 16, 12, 12, requires_grad=True)).sum().backward()
    # As one function both would run in their first order, and be alive together.
    assert calls == ['learnable_bias', 'ema', 'ema', 'learnable_bias']


def test_every_segment_of_a_chosen_block_runs_twice_and_no_other():
    model = build_model(tiny_retinanet(4, with_cp=[1, 4]))
    optim_wrapper = optim_wrapper_for(model)  # which looks at the outputs of an example
    backbone = find_local_backbone(model)
    calls = dict.fromkeys(('conv1', 'layer1.0', 'layer1.1', 'layer2.1', 'layer3.0', 'layer4.0', 'layer4.1'), 0)

    def count(name, *args):
        calls[name] += 1

    for name in calls:  # before it runs: a recomputation ends as soon as it has what it needs
        backbone.get_submodule(name).register_forward_pre_hook(partial(count, name))
    model.train_step(tiny_batch(), optim_wrapper)
    chosen = {name for name, number in calls.items() if number == 2}
    assert chosen == {'conv1', 'layer1.0', 'layer1.1', 'layer4.0', 'layer4.1'}
    assert set(calls.values()) == {1, 2}


def test_a_pipeline_gives_the_same_bits(tmp_path):
    case = CASES['resnet-greedy']
    scenarios = {}
    for with_cp in (False, True):
        cfg = case.model(4)
        cfg.backbone.with_cp = with_cp
        # Two processes, two stages: every process gets all of each batch's samples.
        batches = [case.batch(seed) for seed in range(2)]
        scenarios[str(with_cp)] = partial(train_replicas, partial(build_model, cfg), batches, {}, 2)
    results = on_processes(scenarios, tmp_path)
    for kept, recomputed in zip(results['False'], results['True'], strict=True):
        assert list(kept) == list(recomputed)
        assert all(torch.equal(recomputed[name], value) for name, value in kept.items())


def test_a_graph_can_be_run_backward_twice():
    module, x = layers(), torch.randn(2, 3, 8, 8, requires_grad=True)
    loss = recompute(module, x, modules=[module]).square().sum()
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    assert torch.equal(x.grad, 2 * once)
    assert module[1].num_batches_tracked == 1


def test_tracked_instance_norm_is_left_alone():
    module, x = layers(nn.InstanceNorm2d, track_running_stats=True), torch.randn(2, 3, 8, 8, requires_grad=True)
    y = recompute(module, x, modules=[module])
    values = values_of(module)
    y.sum().backward()
    assert all(torch.equal(buffer, values[name]) for name, buffer in module.named_buffers())
