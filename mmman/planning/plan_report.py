"""A planner's answer as text."""

from mmman.costs.units import megabytes
from mmman.theory.cost_model import smallest_num_blocks

from .planner import Plan, Planner

# Of the work of end to end: rows of the table.
AMOUNTS = (1.0, 1.05, 1.1, 1.15, 1.25, 1.34)


def frontier_table(planner: Planner) -> str:
    """What each world needs at some amounts of work, as a Markdown table.

    MB are 10^6 bytes of live tensors, ratios are to end to end with lean losses and nothing recomputed.
    """
    first = planner.end_to_end()
    lines = [f'| {planner.by}, of end to end | end to end, MB | | MAN++, MB | | K |', '|---|---|---|---|---|---|']
    for amount in AMOUNTS:
        most = amount * planner.amount(first)
        whole, local = planner.smallest_end_to_end(most), planner.smallest_local(most)
        cells = [f'{amount:.2f}', megabytes(whole.peak), f'{whole.peak / first.peak:.2f}']
        if local is None:
            cells += ['-', '', '']
        else:
            cells += [megabytes(local.peak), f'{local.peak / first.peak:.2f}', str(local.num_blocks)]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def describe(planner: Planner, plan: Plan) -> str:
    """A plan in one line."""
    first = planner.end_to_end()
    work = planner.amount(plan) / planner.amount(first)
    seconds = f' ({plan.work.seconds:.3g} s)' if planner.by == 'seconds' else ''
    blocks = f' (blocks {", ".join(map(megabytes, plan.blocks))})' if plan.ends else ''
    return (
        f'{plan.title}: {megabytes(plan.peak)} MB{blocks}, {plan.peak / first.peak:.2f} of end to end, at '
        f'{work:.3f} of its {planner.by}{seconds}'
    )


def answer(planner: Planner, memory: int, local_learning: str) -> list[str]:
    """What fits into a memory, and what else would.

    Args:
        planner (Planner): The planner.
        memory (int): Bytes.
        local_learning (str): See :meth:`Planner.best`.

    Returns:
        list[str]: Lines.
    """
    lines = []
    best = planner.best(memory, local_learning)
    if best is None:
        lines.append(nothing_fits(planner, memory, local_learning))
    else:
        lines.append(f'The least work within {megabytes(memory)} MB: {describe(planner, best)}')
        others = {
            'the best end to end': planner.best_end_to_end(memory),
            'the best of local learning': planner.best_local(memory),
        }
        for name, other in others.items():
            if other is None:
                lines.append(f'- {name}: nothing fits')
            elif other != best:
                lines.append(f'- {name}: {describe(planner, other)}')
    return [*lines, _by_the_paper(planner, memory)]


def nothing_fits(planner: Planner, memory: int, local_learning: str) -> str:
    """Say that nothing fits into a memory, what would, and what to do; see :func:`answer`."""
    return (
        f'Nothing fits into {megabytes(memory)} MB: the least is {describe(planner, planner.least(local_learning))}. '
        'Take fewer or smaller images, --amp, or a smaller batch with optim_wrapper.accumulative_counts'
    )


def _by_the_paper(planner: Planner, memory: int) -> str:
    """The paper's smallest K for the same target (eq. 18), which knows nothing of parameters and heads."""
    layers = len(planner.costs.units)
    if not layers:
        return '- the paper (eq. 18): no K, because the backbone cannot be taken apart'
    target = memory / planner.end_to_end().peak
    start = f'- the paper (eq. 18; {layers} equal layers, no parameters, no heads): '
    try:
        return f'{start}K = {smallest_num_blocks(min(target, 1.0), layers)} for {target:.2f} of end to end'
    except ValueError as error:
        return f'{start}no K for {target:.2f} of end to end, {error}'
