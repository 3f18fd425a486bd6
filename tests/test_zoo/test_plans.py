"""A sample of the configs that the toolboxes ship, on small images: each is planned, and takes what its plan says."""

import pytest

from mmman.apis import launch
from mmman.apis.localization import localize
from mmman.apis.plan_costs import CannotPlanError, measure_here
from mmman.apis.planned_batch import planned_batch
from mmman.costs import TrainingStep
from mmman.planning import Planner
from mmman.planning.plan_settings import settings_of

SAMPLE = [
    'mmdet::condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'mmdet::tood/tood_r50_fpn_1x_coco.py',
    'mmseg::encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'mmpretrain::vgg/vgg11_8xb32_in1k.py',
]
HEIGHT, WIDTH = 128, 160
SIZES = dict(scale=(WIDTH, HEIGHT), crop_size=(HEIGHT, WIDTH), size=(HEIGHT, WIDTH))
OBJECTS = 3


def shrink(part):
    """Give every size in a pipeline, and in the batch augmentations of a data preprocessor, that of a small image."""
    if isinstance(part, dict):
        part.update({name: size for name, size in SIZES.items() if isinstance(part.get(name), (tuple, list))})
        part = list(part.values())
    for each in part if isinstance(part, (list, tuple)) else ():
        shrink(each)


def small(config, folder):
    cfg = launch.load_config(config, work_dir=str(folder))
    shrink(cfg.train_dataloader.dataset)
    shrink(cfg.model.get('data_preprocessor', {}))
    cfg.log_level = 'ERROR'
    return cfg


@pytest.mark.parametrize('config', SAMPLE)
def test_a_config_of_a_toolbox_is_planned(config, tmp_path):
    cfg = small(config, tmp_path)
    costs = measure_here(cfg, 2, OBJECTS).costs
    planner = Planner(costs)
    plan = planner.smallest_end_to_end(1.2 * planner.end_to_end().work.flops)
    assert plan.peak <= planner.end_to_end().peak
    step = TrainingStep(localize(cfg, **settings_of(plan, costs)), dry=True, batch=planned_batch(cfg, 2, OBJECTS))
    assert plan.peak == pytest.approx(step.bytes().peak, rel=0.06)


def test_what_cannot_be_planned_is_refused_in_one_line(tmp_path):
    config = 'mmdet::deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py'
    cfg = launch.load_config(config, work_dir=str(tmp_path))
    with pytest.raises(CannotPlanError) as refused:
        measure_here(cfg, 2, OBJECTS)
    assert len(str(refused.value).splitlines()) == 1
