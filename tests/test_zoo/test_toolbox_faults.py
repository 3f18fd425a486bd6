"""Configs lose what keeps their models from being built, and nothing else."""

from mmengine.config import ConfigDict

from mmman.zoo.toolbox_faults import mended


def test_what_a_type_does_not_take_goes_and_all_else_stays():
    neck = dict(type='FPN', in_channels=[8, 16], strides=(4, 8))
    config = ConfigDict(
        type='RPN', neck=dict(neck, force_grad_on_level=True), rpn_head=dict(type='CascadeRPNHead', num_stages=2)
    )
    found = mended(config)
    assert found.neck == neck and isinstance(found.neck.strides, tuple)
    assert found.rpn_head == dict(type='CascadeRPNHead', num_stages=2, num_classes=1)
    assert 'force_grad_on_level' in config.neck  # it stays as it is
