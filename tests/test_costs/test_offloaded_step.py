from scenarios.runner import tiny_run_cfg
from scenarios.training import assert_same_state

from mmman.apis.localization import localize
from mmman.costs import StepInBackward
from mmman.costs.offloaded_step import OffloadedStep


def test_kept_inputs_are_elsewhere_and_come_back(tmp_path, bccd):
    stock = tiny_run_cfg(None, tmp_path, *bccd)
    cfg = localize(stock, num_blocks=1, with_cp=True)
    dry = [kind(cfg, dry=True) for kind in (StepInBackward, OffloadedStep)]
    kept, offloaded = (step.bytes() for step in dry)
    assert offloaded.peak < kept.peak and offloaded.resident == kept.resident
    assert dry[0].flops() == dry[1].flops()
    real = [kind(cfg) for kind in (StepInBackward, OffloadedStep)]
    assert_same_state(real[1].model, real[0].model)
