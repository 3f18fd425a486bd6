import copy
import gc
import resource
from contextlib import nullcontext

import pytest
import torch
from scenarios.runner import tiny_run_cfg
from scenarios.training import build_model, optim_wrapper_for, train
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmman.costs import DryRun, LiveBytes, TrainingStep, tensors_of
from mmman.testing import CASES


def counted(model, optim_wrapper, batch, dry):
    """Peak of live bytes in a step, and its FLOPs."""
    mode = DryRun(tensors_of(model, optim_wrapper)) if dry else nullcontext()
    counters = LiveBytes(tensors_of(model, optim_wrapper)), FlopCounterMode(display=False)
    for counter in counters:
        gc.collect()
        with mode, counter:
            train(model, optim_wrapper, [batch])
    live, flops = counters
    return live.peak, flops.get_total_flops()


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('name', CASES)
def test_bytes_and_flops_are_those_of_a_real_step(name, with_cp):
    case = CASES[name]
    counts = []
    for dry in (False, True):
        cfg = case.model(case.num_blocks)
        cfg.backbone.with_cp = with_cp
        model = build_model(cfg)
        optim_wrapper = optim_wrapper_for(model)
        train(model, optim_wrapper, [case.batch(0)])  # momenta exist from now on
        counts.append(counted(model, optim_wrapper, case.batch(1), dry))
    assert counts[0] == counts[1]


def test_the_optimizer_states_of_the_first_step_are_made_without_one(tmp_path, bccd):
    steps = [TrainingStep(tiny_run_cfg(4, tmp_path, *bccd), dry=dry) for dry in (False, True)]
    assert steps[0].bytes() == steps[1].bytes()
    assert steps[0].flops() == steps[1].flops()


def test_a_dry_step_has_no_time(tmp_path, bccd):
    with pytest.raises(RuntimeError, match='dry'):
        TrainingStep(tiny_run_cfg(1, tmp_path, *bccd), dry=True).seconds()


def test_values_stay_and_nothing_is_computed():
    layer = nn.Linear(3, 4)
    start = copy.deepcopy(layer.state_dict())
    with DryRun(layer.parameters()):
        y = layer(torch.ones(2, 3)).relu()
        y.sum().backward()
        with torch.no_grad():
            layer.weight.zero_()
            assert y.isfinite().all().item() is True
            assert y.sum().item() == 0
    assert y.shape == (2, 4)
    assert layer.weight.grad.shape == (4, 3)
    assert all(torch.equal(value, start[name]) for name, value in layer.state_dict().items())


def test_what_no_dry_tensor_takes_part_in_is_computed():
    with DryRun([torch.empty(2)]):
        assert torch.ones(3).sum().item() == 3


def test_what_is_written_from_a_dry_tensor_is_dry():
    dry, other = torch.ones(2), torch.ones(2)
    with DryRun([dry]):
        other.copy_(dry + 1)
        assert other.sum().item() == 0  # nobody knows


def test_storage_is_shared_where_a_real_operation_shares_it():
    x = torch.ones(2, 6)
    with DryRun([x]):
        views = [x.t(), x.view(3, 4), x[:, 1:], torch.ops.aten._unsafe_view(x, [4, 3])]
        assert all(view.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() for view in views)
        assert (x + 0).untyped_storage().data_ptr() != x.untyped_storage().data_ptr()


def test_a_known_mask_chooses_and_a_dry_one_is_refused():
    x = torch.ones(5, 2)
    with DryRun([x]):
        assert x[torch.tensor([True, False, True, True, False])].shape == (3, 2)
        with pytest.raises(RuntimeError, match='cannot be run dry: its result depends on values'):
            x[x[:, 0] > 0]


def test_memory_that_is_counted_is_not_taken():
    torch.use_deterministic_algorithms(False)  # with them, torch fills what is not initialised
    layer = nn.Linear(1, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with DryRun(layer.parameters()), LiveBytes(layer.parameters()) as live:
        large = [layer.weight.expand(2**14, 2**14).contiguous() for _ in range(4)]
    assert live.current == sum(x.nbytes for x in large) + 8 == 2**32 + 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kB, a quarter of it
