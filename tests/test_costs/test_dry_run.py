import copy
import gc
import resource
from contextlib import nullcontext

import pytest
import torch
from mmcv.ops import RoIAlign, nms
from scenarios.runner import tiny_run_cfg
from scenarios.training import build_model, optim_wrapper_for, train
from scenarios.two_stage import tiny_two_stage_cfg
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmman.costs import CannotRunDry, DryRun, LiveBytes, TrainingStep, tensors_of
from mmman.testing import CASES, FAMILY_CASES


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


# Recomputation is the same whatever the loss: of each kind of backbone and toolbox one case.
RECOMPUTED = ['resnet-greedy', 'vgg-greedy', 'vit-greedy', 'segmentor-fcn', 'retinanet-retina']
# What passes from segment to segment is no map: tokens and their grid, several maps.
STATES = ['mmseg.MixVisionTransformer', 'mmdet.HRNet', 'mmseg.UNet']


@pytest.mark.parametrize(
    ('name', 'with_cp'),
    [*((name, False) for name in CASES), *((name, True) for name in RECOMPUTED), *((name, False) for name in STATES)],
)
def test_bytes_and_flops_are_those_of_a_real_step(name, with_cp):
    case = (CASES | FAMILY_CASES)[name]
    counts = []
    for dry in (False, True):
        cfg = case.model(case.num_blocks)
        cfg.backbone.with_cp = with_cp
        model = build_model(cfg)
        optim_wrapper = optim_wrapper_for(model)
        train(model, optim_wrapper, [case.batch(0)])  # momenta exist from now on
        counts.append(counted(model, optim_wrapper, case.batch(1), dry))
    assert counts[0] == counts[1]


@pytest.mark.parametrize('frozen', [False, True])
@pytest.mark.parametrize('num_blocks', [None, 4])
def test_the_first_dry_step_makes_the_optimizer_states_of_a_real_one(num_blocks, frozen, tmp_path, bccd):
    cfg = tiny_run_cfg(num_blocks, tmp_path, *bccd)
    if frozen:
        plain = cfg.model.backbone if num_blocks is None else cfg.model.backbone.backbone
        plain.update(frozen_stages=1, norm_eval=True)
    real, dry = (TrainingStep(cfg, dry=dry) for dry in (False, True))
    assert dry.bytes() == real.bytes()
    assert dry.flops() == real.flops()
    trained = sum(p.nbytes for p in real.model.parameters() if p.requires_grad)
    assert dry.bytes().states == trained  # momenta; a frozen parameter has none


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


def test_a_known_mask_chooses_and_a_dry_one_chooses_all():
    x = torch.ones(5, 2)
    known = torch.tensor([True, False, True, True, False])
    with DryRun([x]):
        assert x[known].shape == (3, 2)
        assert x[:, 0].masked_select(known).shape == (3,)
        dry = x[:, 0] > 0
        assert x[dry].shape == (5, 2)
        assert dry.nonzero().tolist() == [[0], [1], [2], [3], [4]]
        x[dry] = 3.0
        assert x.long().unique().tolist() == [0]  # a dry number is 0


def test_new_zeros_are_known_and_choose():
    """Mask2Former writes into them which queries have a ground truth."""
    dry = torch.randn(6)
    with DryRun([dry]):
        weights = (dry * 2).new_zeros(6)
        weights[torch.tensor([1, 4])] = 1.0
        assert dry[weights > 0].shape == (2,)


def test_sorted_numbers_differ():
    dry = torch.zeros(5)
    with DryRun([dry]):
        values, _ = (dry * 2).sort()
        assert values.numpy().tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_what_torch_does_not_dispatch_reads_zeros():
    boxes, scores = 10 * torch.rand(1000, 4), torch.rand(1000)
    with DryRun([boxes, scores]):
        for _ in range(3):  # memory that was used before is cleared, too
            assert not (boxes + 1).numpy().any()
            assert not (boxes.double() + 1).t().numpy().any()
        dets, kept = nms(boxes + 1, scores + 1, iou_threshold=0.5)
        rois = torch.cat([boxes.new_full((1000, 1), 7), boxes], dim=1)
        features = RoIAlign(7, 1.0)(scores.expand(2, 8, 16, 16, 1000)[..., 0].contiguous(), rois)
    assert dets.shape == (1000, 5) and kept.shape == (1000,)
    assert features.shape == (1000, 8, 7, 7)


def test_what_is_not_torchs_own_runs_on_zeros():
    library = torch.library.Library('mmman_test', 'DEF')
    library.define('add_one(Tensor x) -> Tensor')
    library.impl('add_one', lambda x: torch.from_numpy(x.detach().numpy() + 1), 'CPU')
    x = torch.rand(5)
    with DryRun([x]):
        y = torch.ops.mmman_test.add_one(x + 2)
        assert y.numpy().tolist() == [1] * 5
        assert y.sum().item() == 0  # its result is dry


def test_what_knows_no_meta_tensors_is_refused_in_one_line():
    x = torch.ones(5)
    with (
        DryRun([x]),
        pytest.raises(CannotRunDry, match='aten.histogram.* cannot be run dry: .* Measure a real') as error,
    ):
        x.histogram(3)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['faster', 'mask'])
def test_two_stages_cost_what_the_config_allows_at_the_most(name, tmp_path, bccd):
    data_root, _, classes = bccd
    real, dry = (
        TrainingStep(tiny_two_stage_cfg(name, 4, tmp_path, data_root, classes), dry=dry) for dry in (False, True)
    )
    assert dry.bytes().resident == real.bytes().resident
    assert real.bytes().peak <= dry.bytes().peak
    if name == 'faster':  # others compute more for each positive RoI
        assert dry.flops() == real.flops()
        assert dry.bytes().peak == pytest.approx(real.bytes().peak, rel=0.1)


def test_memory_that_is_counted_is_not_taken():
    torch.use_deterministic_algorithms(False)  # with them, torch fills what is not initialised
    layer = nn.Linear(1, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with DryRun(layer.parameters()), LiveBytes(layer.parameters()) as live:
        large = [layer.weight.expand(2**14, 2**14).contiguous() for _ in range(4)]
    assert live.current == sum(x.nbytes for x in large) + 8 == 2**32 + 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kB, a quarter of it
