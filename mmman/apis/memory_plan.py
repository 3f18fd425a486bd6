"""Plan a config for a memory: "I have 8 GB"."""

import copy
import os.path as osp
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmman.costs.units import megabytes, parse_bytes
from mmman.costs.variants import lean_losses
from mmman.planning import Plan, Planner
from mmman.planning.plan_report import answer, describe
from mmman.planning.plan_settings import settings_of

from .config_parts import find_backbone, is_local
from .config_text import as_text, base_of, can_be_inherited
from .localization import imports_with_mmman, recompute_hook
from .plan_costs import CannotPlanError, Measured, measure_config

# Of a plan's peak: what the next smaller plan takes at most.
SMALLER = 0.95


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

    @property
    def hook(self) -> dict[str, Any]:
        """The hook that compares training with the plan."""
        return plan_hook(self.planner, self.plan)


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
        resort = last_resort(cfg, measured.num_images, memory, local_learning, **question)
        raise CannotPlanError('. '.join(filter(None, [lines[0], resort])))
    for line in lines:
        print_log(f'plan: {line}', logger='current')
    return MemoryPlan(measured, planner, plan, memory)


def last_resort(cfg: Config, images: int, memory: int, local_learning: str, **question: Any) -> str:
    """How to train within a memory that nothing fits into: with smaller batches whose gradients accumulate.

    It comes last because norms see smaller batches then.

    Args:
        cfg (Config): The config.
        images (int): Images in its batch.
        memory (int): Bytes.
        local_learning (str): See :func:`plan_config`.
        **question: See :func:`plan_config`; the batch's size does not count.

    Returns:
        str: The largest batches of two images or more that fit, and their settings; empty if there are none.
    """
    for fewer in [n for n in range(images // 2, 1, -1) if images % n == 0]:
        steps, part = images // fewer, copy.deepcopy(cfg)
        part.optim_wrapper.accumulative_counts = steps * cfg.optim_wrapper.get('accumulative_counts', 1)
        measured = measure_config(part, **{**question, 'batch_size': fewer})
        plan = Planner(measured.costs).best(memory, local_learning)
        if plan is not None:
            return (
                f'As a last resort {fewer} images at a time would fit, the gradients of {steps} such batches '
                f'accumulated ({plan.title}: {megabytes(plan.peak)} MB): '
                f'--cfg-options train_dataloader.batch_size={fewer} '
                f'optim_wrapper.accumulative_counts={part.optim_wrapper.accumulative_counts}'
            )
    return ''


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
        *wrap(f'Expected: {describe(planner, plan)}.', 118, initial_indent='# ', subsequent_indent='#   '),
        f"_base_ = '{base_of(path, out)}'",
        f'custom_imports = {as_text(imports_with_mmman(cfg))}',
    ]
    hooks = dict(plan=plan_hook(planner, plan))
    if is_local(cfg.model):
        lines.append(f'model = {as_text(_changed_model(cfg, settings))}')
        if recompute := settings.get('recompute'):
            hooks['recompute'] = recompute_hook(recompute)
    else:
        instead = dict(_delete_=True) if cfg.get('local_learning') else {}
        lines += ["runner_type = 'mmman.LocalRunner'", f'local_learning = {as_text(instead | settings)}']
    lines.append(f'default_hooks = {as_text(hooks)}')
    if batch_size:
        lines.append(f'train_dataloader = dict(batch_size={batch_size})')
    return '\n'.join(lines) + '\n'


def plan_hook(planner: Planner, plan: Plan) -> dict[str, Any]:
    """The config of the hook that compares training with a plan, and knows the next smaller one."""
    smaller = planner.best(SMALLER * plan.peak)
    return dict(type='mmman.PlanHook', peak=plan.peak) | ({} if smaller is None else dict(smaller=smaller.peak))


def _changed_model(cfg: Config, settings: dict[str, Any]) -> dict[str, Any]:
    """What a plan changes of a model that learns in blocks already."""
    holder, key = find_backbone(cfg.model, local=True)
    if holder is not cfg.model or key != 'backbone':
        raise CannotPlanError(
            'the LocalBackbone is not model.backbone, where a planned config would write: plan its twin'
        )
    partition = settings.get('partition', dict(num_blocks=1))
    model = _changes(cfg.model, lean_losses(cfg).model)
    backbone = model.setdefault('backbone', {})
    backbone['partition'] = dict(_delete_=True, **partition)
    if 'ends' not in partition:
        backbone['local_head'] = None
    with_cp = settings.get('with_cp')
    inherited = isinstance(cfg.model.backbone.get('with_cp'), dict)
    backbone['with_cp'] = dict(_delete_=True, **with_cp) if with_cp and inherited else with_cp or False
    for name in ('drop_outputs', 'efficient_conv_bn_eval'):
        if name in settings:
            backbone[name] = settings[name]
    return model


def _changes(before: Any, after: Any) -> Any:
    """What a config has to say to make a part that it inherits another one; lists are written whole."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    return {key: _changes(before.get(key), value) for key, value in after.items() if value != before.get(key)}


def about_batch(measured: Measured, memory: int, amp: bool) -> str:
    """What a plan is made for, in words."""
    return f'{megabytes(memory)} MB, {batch_in_words(measured, amp)}'


def batch_in_words(measured: Measured, amp: bool) -> str:
    """What was measured, in words."""
    height, width = measured.size
    precision = 'mixed' if amp else 'single'
    return f'batches of {measured.num_images} images of {height}x{width}, {precision} precision'
