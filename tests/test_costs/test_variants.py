import pytest
from scenarios.lazy_configs import lazy
from scenarios.runner import tiny_run_cfg

from mmman.costs import variants
from mmman.toolboxes import type_name


@pytest.fixture(params=['strings', 'classes'])
def cfg(request, tmp_path, bccd):
    found = tiny_run_cfg(4, tmp_path, *bccd)
    return found if request.param == 'strings' else lazy(found)


def test_lean_losses_are_in_local_heads_too(cfg):
    lean = variants.lean_losses(cfg)
    assert lean.model.backbone.local_head.head.loss_cls.type == 'mmman.LeanFocalLoss'
    assert type_name(cfg.model.bbox_head.loss_cls.type) == 'FocalLoss'


def test_single_precision_undoes_mixed_precision(cfg):
    mixed = variants.mixed_precision(cfg)
    assert mixed.optim_wrapper.type == 'mmman.CPUAmpOptimWrapper'
    mixed.optim_wrapper.update(loss_scale=512.0, dtype='bfloat16')
    assert variants.single_precision(mixed).optim_wrapper == dict(cfg.optim_wrapper, type='OptimWrapper')
    assert variants.single_precision(cfg).to_dict() == cfg.to_dict()
