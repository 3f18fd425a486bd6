"""Contract 1: an auxiliary head that sees a detached feature is said aloud, a decode head that does is refused."""

import logging

import pytest
from mmengine.logging import MMLogger
from scenarios.training import build_model, optim_wrapper_for

from mmman.testing import tiny_segmentor


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    logger = MMLogger.get_instance('test_detached_heads')
    monkeypatch.setattr(MMLogger, 'get_current_instance', classmethod(lambda cls: logger))
    monkeypatch.setattr(logger, 'log', lambda level, text: lines.append(text) if level == logging.WARNING else None)
    return lines


def test_auxiliary_head_on_a_detached_feature_is_named_in_the_log(warnings):
    optim_wrapper_for(build_model(tiny_segmentor(4)))
    (line,) = [line for line in warnings if 'detached' in line]
    assert line.startswith('auxiliary_head (FCNHead, in_index=2) sees features of blocks 1 to 3 of 4 alone')
    assert 'trains the head itself, not the backbone' in line


def test_auxiliary_head_in_the_last_block_is_left_in_peace(warnings):
    optim_wrapper_for(build_model(tiny_segmentor(4, partition=dict(ends=['layer3.0']))))
    assert not any('detached' in line for line in warnings)


@pytest.mark.parametrize('in_index', [2, -2])
def test_decode_head_on_a_detached_feature_is_refused(in_index):
    cfg = tiny_segmentor(4)
    cfg.decode_head.update(in_index=in_index, in_channels=cfg.auxiliary_head.in_channels)
    with pytest.raises(ValueError, match='the last block would learn nothing'):
        optim_wrapper_for(build_model(cfg))
