"""Plan a config for a memory: "I have 8 GB"."""

import os.path as osp
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmman.costs.units import megabytes, parse_bytes
from mmman.planning import Plan, Planner
from mmman.planning.plan_report import answer, describe
from mmman.planning.plan_settings import settings_of

from .config_parts import dicts_in, is_local
from .config_text import as_text, base_of, can_be_inherited
from .localization import imports_with_mmman, recompute_hook
from .plan_costs import CannotPlanError, Measured, measure_config


@dataclass(frozen=True)
class MemoryPlan:
    """A plan for a config.

    Args:
        measured (Measured): What the config costs.
        planner (Planner): Who made it.
        plan (Plan): The plan.
        memory (int): Bytes that it fits into.
    """

    measured: Measured
    planner: Planner
    plan: Plan
    memory: int

    @property
    def settings(self) -> dict[str, Any]:
        """The plan as arguments of :func:`mmman.localize`."""
        return settings_of(self.plan, self.measured.costs)


def plan_config(cfg: Config, memory: str | int, local_learning: str = 'if-better', **question: Any) -> MemoryPlan:
    """Find the way to train a config within a memory that takes the least work.

    Args:
        cfg (Config): A stock config of mmdet, mmseg or mmpretrain.
        memory (str | int): Bytes, or a text such as ``'8GB'``.
        local_learning (str): ``'never'``, ``'always'`` or ``'if-better'``; see :meth:`mmman.planning.Planner.best`.
        **question: ``batch_size``, ``num_objects`` and ``amp``; see :func:`measure_config`.

    Raises:
        CannotPlanError: If it cannot be measured, or nothing fits.
    """
    try:
        memory = parse_bytes(memory) if isinstance(memory, str) else memory
    except Exception as error:
        raise CannotPlanError(f'memory={memory!r}: {error}') from None
    measured = measure_config(cfg, **question)
    planner = Planner(measured.costs)
    plan = planner.best(memory, local_learning)
    lines = answer(planner, memory, local_learning)
    if plan is None:
        raise CannotPlanError(lines[0])
    for line in lines:
        print_log(f'plan: {line}', logger='current')
    return MemoryPlan(measured, planner, plan, memory)


def planned_config(
    path: str, cfg: Config, out: str, planner: Planner, plan: Plan, about: str, batch_size: int | None = None
) -> str:
    """Write a config that inherits another one and trains it by a plan.

    Args:
        path (str): What was read: a file, or ``'mmdet::...'``.
        cfg (Config): The config in it.
        out (str): The file that the text is for.
        planner (Planner): Who made the plan.
        plan (Plan): The plan.
        about (str): What it was made for.
        batch_size (int, optional): Images in a batch, where that is not the config's own.

    Raises:
        CannotPlanError: If a config of text cannot inherit it.
    """
    if not can_be_inherited(path, cfg):
        raise CannotPlanError(
            f"'{path}' is a lazy config, which a config of text cannot inherit: train it by "
            'tools/train.py --local-learning 8GB'
        )
    settings = settings_of(plan, planner.costs)
    lines = [
        f'# {osp.splitext(osp.basename(path))[0]}, planned for {about}.',
        f'# Expected: {describe(planner, plan)}.',
        f"_base_ = '{base_of(path, out)}'",
        f'custom_imports = {as_text(imports_with_mmman(cfg))}',
    ]
    if is_local(cfg.model):
        lines += _lines_of_local(cfg, settings)
    else:
        lines += ["runner_type = 'mmman.LocalRunner'", f'local_learning = {as_text(settings)}']
    if batch_size:
        lines.append(f'train_dataloader = dict(batch_size={batch_size})')
    return '\n'.join(lines) + '\n'


def _lines_of_local(cfg: Config, settings: dict[str, Any]) -> list[str]:
    """What to write into a config that inherits one of local learning."""
    partition = settings.get('partition', dict(num_blocks=1))
    backbone = dict(partition=dict(_delete_=True, **partition))
    if 'ends' not in partition:
        backbone['local_head'] = None
    with_cp = settings.get('with_cp')
    backbone['with_cp'] = (
        dict(_delete_=True, **with_cp) if with_cp and _has_mapping(cfg, 'with_cp') else with_cp or False
    )
    for name in ('drop_outputs', 'efficient_conv_bn_eval'):
        if name in settings:
            backbone[name] = settings[name]
    lines = [f'model = {as_text(dict(backbone=backbone))}']
    if recompute := settings.get('recompute'):
        lines.append(f'default_hooks = {as_text(dict(recompute=recompute_hook(recompute)))}')
    lines.append('# With lean losses: mmman.LeanFocalLoss for FocalLoss, mmman.LeanCrossEntropyLoss for mmseg.')
    return lines


def _has_mapping(cfg: Config, name: str) -> bool:
    return any(isinstance(part.get(name), dict) for part in dicts_in(cfg.model))


def about_batch(measured: Measured, memory: int, amp: bool) -> str:
    """What a plan is made for, in words."""
    height, width = measured.size
    return (
        f'{megabytes(memory)} MB, batches of {measured.num_images} images of {height}x{width}, '
        f'{"mixed" if amp else "single"} precision'
    )
