"""Selective recomputation: the same to the last bit, no FLOPs more, norms counted once, fewer bytes."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmman.costs import LiveBytes, tensors_of
from mmman.memory.recompute import recompute

IN_PLACE = [nn.ReLU(True), nn.LeakyReLU(0.1, True), nn.SiLU(True), nn.ELU(inplace=True), nn.Hardswish(True)]


def layers(activation):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        activation,
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.Dropout(0.5),
        nn.Conv2d(8, 8, 1),
    )


def trained(module, run, after=lambda y: y):
    """Everything that a forward and backward pass leaves behind."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.reset_running_stats()
    module.zero_grad()
    torch.manual_seed(1)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    y = after(run(x))
    y.square().sum().backward()
    return [y, x.grad, *(p.grad for p in module.parameters()), *(b.clone() for b in module.buffers()), torch.rand(3)]


@pytest.mark.parametrize('activation', IN_PLACE, ids=lambda activation: type(activation).__name__)
@pytest.mark.parametrize('after', [lambda y: y, lambda y: y.relu_()], ids=['kept', 'changed in place behind'])
def test_training_is_the_same_to_the_last_bit(activation, after):
    module = layers(activation)
    kept = trained(module, module, after)
    again = trained(module, lambda x: recompute(module, x, modules=[module], mode='selective'), after)
    assert all(torch.equal(*pair) for pair in zip(kept, again, strict=True))
    assert module[3].num_batches_tracked == 1


def flops_of(module, run):
    with FlopCounterMode(display=False) as counter:
        trained(module, run)
    return counter.get_total_flops()


def test_what_has_flops_is_not_computed_again():
    module = layers(nn.ReLU(True))
    selective = flops_of(module, lambda x: recompute(module, x, modules=[module], mode='selective'))
    full = flops_of(module, lambda x: recompute(module, x, modules=[module]))
    assert selective == flops_of(module, module) < full


def kept_bytes(module, run):
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    with LiveBytes([x, *tensors_of(module)]) as live:
        start = live.current
        y = run(x)
        assert y.requires_grad
        return live.current - start


def test_less_is_kept_than_without_and_more_than_the_input():
    module = layers(nn.ReLU(True))
    none = kept_bytes(module, module)
    selective = kept_bytes(module, lambda x: recompute(module, x, modules=[module], mode='selective'))
    full = kept_bytes(module, lambda x: recompute(module, x, modules=[module]))
    assert full < selective < none


def test_a_result_that_was_seen_and_then_changed_is_computed_again():
    conv = nn.Conv2d(3, 3, 1)

    def function(x):
        y = conv(x)
        seen = y.sigmoid()
        return seen * y.relu_()

    kept = trained(conv, function)
    again = trained(conv, lambda x: recompute(function, x, modules=[conv], mode='selective'))
    assert all(torch.equal(*pair) for pair in zip(kept, again, strict=True))


def test_attention_with_dropout_draws_the_same_numbers():
    torch.manual_seed(0)
    module = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.3, batch_first=True)

    def results(run):
        module.zero_grad()
        torch.manual_seed(1)
        x = torch.randn(2, 9, 16, requires_grad=True)
        run(x).square().sum().backward()
        return [x.grad, *(p.grad for p in module.parameters())]

    kept = results(module)
    again = results(lambda x: recompute(module, x, modules=[module], mode='selective'))
    assert all(torch.equal(*pair) for pair in zip(kept, again, strict=True))


def test_a_graph_can_be_run_backward_twice():
    module, x = layers(nn.ReLU(True)), torch.randn(2, 3, 8, 8, requires_grad=True)
    loss = recompute(module, x, modules=[module], mode='selective').square().sum()
    loss.backward(retain_graph=True)
    once = x.grad.clone()
    loss.backward()
    assert torch.allclose(x.grad, 2 * once)
