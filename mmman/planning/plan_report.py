"""A planner's answer as text: the frontier, and the lines to write."""

from mmengine.config import Config

from mmman.costs.units import megabytes
from mmman.theory.cost_model import smallest_num_blocks

from .planner import Plan, Planner


def ways(planner: Planner, by: str, least_blocks: int) -> list[Plan]:
    """The ways end to end, and the frontier of local learning."""
    plain = [planner.end_to_end(), planner.with_cp(), planner.recompute_all()]
    return [*plain, *planner.frontier(by, least_blocks)]


def frontier_table(planner: Planner, by: str, least_blocks: int) -> str:
    """All ways as a Markdown table; MB are 10^6 bytes, ratios are to end to end with lean losses."""
    plans = ways(planner, by, least_blocks)
    first = plans[0]
    timed = first.seconds > 0
    lines = [
        '| | peak MB | ratio | FLOPs |' + (' time |' if timed else '') + ' ends of blocks | recomputed |',
        '|---|---|---|---|---|---|' + ('---|' if timed else ''),
    ]
    for plan in plans:
        recomputed = [*map(str, plan.recomputed), *(['neck and heads'] if plan.neck_and_heads_recomputed else [])]
        cells = [plan.title, megabytes(plan.peak), f'{plan.peak / first.peak:.2f}']
        cells += [f'{plan.flops / first.flops:.2f}', *([f'{plan.seconds / first.seconds:.2f}'] if timed else [])]
        lines.append('| ' + ' | '.join([*cells, ', '.join(plan.ends), ', '.join(recomputed)]) + ' |')
    return '\n'.join(lines)


def report(planner: Planner, cfg: Config, memory: int, by: str, least_blocks: int) -> str:
    """What to write into the config to train as fast as possible within a memory.

    Args:
        planner (Planner): The planner.
        cfg (Config): The config it planned for.
        memory (int): Bytes.
        by (str): ``'flops'`` or ``'seconds'``.
        least_blocks (int): The smallest K of local learning that is wanted.
    """
    plans = [plan for plan in ways(planner, by, least_blocks)[:3] if plan.peak <= memory]
    local = planner.fastest(memory, by, least_blocks)
    if local is not None:
        plans.append(local)
    lines = [_by_the_paper(planner, memory), '']
    if not plans:
        least = min(ways(planner, by, least_blocks), key=lambda plan: plan.peak)
        lines.append(
            f'Nothing fits into {megabytes(memory)} MB: the least is {megabytes(least.peak)} MB ({least.title}). Take '
            'fewer or smaller images, or lighter local heads'
        )
        return '\n'.join(lines)
    best = min(plans, key=lambda plan: getattr(plan, by))
    lines.append(f'The fastest within {megabytes(memory)} MB, by {by}: {best.title}, {megabytes(best.peak)} MB. Write:')
    lines += ['', best.lines(cfg)]
    if local is not None and best is not local:
        lines += [
            '',
            f'The fastest of local learning: {local.title}, {megabytes(local.peak)} MB:',
            '',
            local.lines(cfg),
        ]
    lines += ['', 'All with lean losses: mmman.LeanFocalLoss for FocalLoss, mmman.LeanCrossEntropyLoss for mmseg.']
    return '\n'.join(lines)


def _by_the_paper(planner: Planner, memory: int) -> str:
    """The paper's smallest K for the same target (eq. 18), which knows nothing of parameters and heads."""
    target, layers = memory / planner.end_to_end().peak, planner.count
    start = f'The paper (eq. 18; {layers} equal layers, no parameters, no heads) would have '
    try:
        return f'{start}K = {smallest_num_blocks(min(target, 1.0), layers)} for {target:.2f} of end to end.'
    except ValueError as error:
        return f'{start}no K for {target:.2f} of end to end: {error}'
