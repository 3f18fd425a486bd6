import pytest
import torch

from mmman.costs import LiveBytes


def test_live_bytes_equal_a_count_by_hand():
    layer = torch.nn.Linear(100, 1000, bias=False)
    with LiveBytes(layer.parameters()) as live:
        start = live.current
        assert start == 100 * 1000 * 4
        x = torch.randn(10, 100)
        hidden = layer(x)
        y = hidden.relu()
        assert live.current - start == (10 * 100 + 2 * 10 * 1000) * 4
        del hidden  # relu saves its result, linear its input
        assert live.current - start == (10 * 100 + 10 * 1000) * 4
        y.sum().backward()
        assert live.current - start == (10 * 100 + 10 * 1000 + 100 * 1000) * 4
        layer.weight.grad = None
        del x, y
        assert live.current == start


def test_gradients_are_counted_apart_from_when_they_are_accumulated_until_they_are_freed():
    first, second = torch.nn.Linear(100, 1000, bias=False), torch.nn.Linear(1000, 10, bias=False)
    params = [first.weight, second.weight]
    with LiveBytes(params) as live, live.watch_gradients(params):
        second(first(torch.randn(5, 100))).sum().backward()
        assert live.gradients == first.weight.nbytes + second.weight.nbytes
        assert live.take_peak().gradients > 0
        first.weight.grad = None
        assert live.gradients == second.weight.nbytes
        second.weight.grad = None
        assert live.gradients == 0
    first(torch.randn(5, 100)).sum().backward()
    assert live.gradients == 0  # no longer watched


@pytest.mark.skipif(not torch.cuda.is_available(), reason='compares with the CUDA allocator')
def test_live_bytes_equal_the_cuda_allocators():
    x = torch.randn(2**20, device='cuda', requires_grad=True)  # 4 MB: nothing is rounded up
    start = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with LiveBytes([x]) as live:
        y = x.exp().sin().relu()
        assert live.current - x.nbytes == torch.cuda.memory_allocated() - start
        y.backward(torch.ones_like(y))
        assert live.current - x.nbytes == torch.cuda.memory_allocated() - start
    assert live.peak - x.nbytes == torch.cuda.max_memory_allocated() - start
