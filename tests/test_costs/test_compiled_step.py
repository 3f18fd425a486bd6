from scenarios.runner import tiny_run_cfg

from mmman.costs import TrainingStep, compiled_step
from mmman.costs.compiled_step import CompiledStep


def test_compiled_code_keeps_less_and_computes_more(tmp_path, bccd, monkeypatch):
    cfg = tiny_run_cfg(None, tmp_path, *bccd)
    monkeypatch.setattr(compiled_step, 'PARTS', ('neck',))  # the rest takes a minute
    plain, compiled = (kind(cfg, dry=True) for kind in (TrainingStep, CompiledStep))
    assert plain.bytes().resident == compiled.bytes().resident
    assert compiled.bytes().peak < plain.bytes().peak
    assert plain.flops() < compiled.flops() < 1.1 * plain.flops()
