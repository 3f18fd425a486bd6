"""`tools/plan.py` and what a user says in its place: a memory."""

import copy
import json
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from scenarios.runner import tiny_run_cfg

from mmman.apis import launch, memory_plan, plan_costs
from mmman.apis.config_parts import dicts_in
from mmman.apis.localization import NotLocalizableError, localize
from mmman.apis.plan_costs import both_worlds, measure_here
from mmman.apis.planned_batch import planned_batch
from mmman.costs import TrainingStep
from mmman.costs.units import parse_bytes
from mmman.toolboxes import type_name

PLAN = Path(__file__).parents[2] / 'tools/plan.py'


@pytest.fixture(scope='module')
def stock(tmp_path_factory, bccd):
    """The file of a small stock config."""
    folder = tmp_path_factory.mktemp('stock')
    cfg = tiny_run_cfg(None, folder, *bccd)
    cfg.train_dataloader.dataset.pipeline[2].scale = (320, 192)
    cfg.dump(folder / 'stock.py')
    return folder / 'stock.py'


@pytest.fixture(scope='module')
def measure(tmp_path_factory):
    """Measures in this process, each kind of backbone once."""
    known = {}

    def measure_once(cfg, batch_size=None, num_objects=None, amp=False, timed=False):
        question = batch_size, num_objects, amp, timed
        key = (type_name(cfg.model.backbone.type), *question)
        if key not in known:
            cfg = copy.deepcopy(cfg)
            cfg.work_dir = str(tmp_path_factory.mktemp('measured'))
            known[key] = measure_here(cfg, *question)
        return known[key]

    return measure_once


@pytest.fixture
def measured_here(monkeypatch, measure):
    for module in (plan_costs, memory_plan):
        monkeypatch.setattr(module, 'measure_config', measure)


def plan(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, 'argv', ['plan.py', *map(str, arguments)])
    runpy.run_path(str(PLAN), run_name='__main__')
    return capsys.readouterr().out


@pytest.mark.usefixtures('measured_here')
@pytest.mark.parametrize('local', [False, True])
@pytest.mark.parametrize('local_learning', ['never', 'always'])
def test_a_planned_config_inherits_and_trains_within_its_memory(
    stock, tmp_path, monkeypatch, capsys, local_learning, local
):
    base = stock
    if local:
        base = tmp_path / 'local.py'
        localize(Config.fromfile(stock), num_blocks=2).dump(base)
    out, picture, page, memory = tmp_path / 'planned.py', tmp_path / 'plan.png', tmp_path / 'plan.html', '20MB'
    options = ('--memory', memory, '--objects', 5, '--local-learning', local_learning)
    text = plan(monkeypatch, capsys, base, *options, '--out', out, picture, page)
    assert 'The least work within 20 MB' in text and picture.stat().st_size > 1000
    assert out.read_text() in text and json.dumps(out.read_text()) in page.read_text()
    cfg = launch.load_config(str(out), work_dir=str(tmp_path))
    settings = cfg.model.backbone if local else cfg.local_learning
    assert ('ends' in settings.get('partition', {})) == (local_learning == 'always')
    if local:  # the heads' losses, those of local heads included
        losses = [type_name(part.type) for part in dicts_in(cfg.model) if 'FocalLoss' in str(part.get('type'))]
        assert losses == ['LeanFocalLoss'] * (2 if local_learning == 'always' else 1)
    cfg.log_level = 'ERROR'
    batch = planned_batch(Config.fromfile(stock), None, 5)
    assert TrainingStep(cfg, dry=True, batch=batch).bytes().peak <= 1.03 * parse_bytes(memory)


def test_other_files_are_refused_before_anything_is_measured(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        plan(monkeypatch, capsys, 'nowhere.py', '--memory', '1MB', '--out', 'plan.py', 'plan.pdf')
    (line,) = [line for line in capsys.readouterr().err.splitlines() if 'error' in line]
    assert line.endswith("expected a config (.py), a picture (.png) or a page (.html), got 'plan.pdf'")


@pytest.mark.usefixtures('measured_here')
def test_what_does_not_fit_is_said(stock, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        plan(monkeypatch, capsys, stock, '--memory', '1MB', '--objects', 5)
    assert 'Nothing fits into 1 MB: the least is' in capsys.readouterr().out


@pytest.mark.usefixtures('measured_here')
def test_a_memory_in_the_place_of_choices(stock):
    cfg = launch.localize_as_asked(launch.load_config(str(stock)), '8GB')
    assert type_name(cfg.model.backbone.type) == 'ResNet'  # all fits end to end
    assert type_name(cfg.model.bbox_head.loss_cls.type) == 'LeanFocalLoss'
    with pytest.raises(NotLocalizableError, match="memory='8 apples'"):
        localize(Config.fromfile(stock), memory='8 apples')
    with pytest.raises(NotLocalizableError, match='or other choices, not both'):
        localize(Config.fromfile(stock), memory='8GB', auxiliary=None)


def test_a_process_of_its_own_measures(stock):
    cfg = launch.localize_as_asked(launch.load_config(str(stock)), '20MB')
    assert cfg.model.backbone.with_cp


def test_a_local_config_without_a_word_on_auxiliary_networks_is_planned_with_its_default(stock):
    cfg = localize(Config.fromfile(stock), num_blocks=2)
    del cfg.model.backbone['auxiliary']
    cfg.default_hooks.recompute = dict(type='mmman.RecomputeHook', parts=['neck'])
    plain, local, _ = both_worlds(cfg)
    assert local['auxiliary']['type'] == 'mmman.MomentumAuxiliary'
    assert plain.default_hooks.recompute is None  # what a plan has written is planned anew
