import pytest
import torch

from mmman.analysis import LiveBytes


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
