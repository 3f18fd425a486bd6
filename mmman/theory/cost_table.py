"""The cost model beside the count of a real model: where the theory is optimistic, and by how much."""

from typing import Any

from mmman.costs.counted_cost import PARTS, Count, CountedCost

from . import cost_model
from .cost_model import Symbols

QUANTITIES = {'params': ('parameters, M', 1e6), 'flops': ('GFLOP of a step', 1e9), 'activations': ('kept, MB', 1e6)}


def theory_of(counted: CountedCost, eps: float = cost_model.PAPER_EPS) -> Symbols:
    """What the paper's equations are given of a model, so that they agree with it on end-to-end training.

    A layer is what a block can end with. All that the model costs end to end, neck and heads included, is shared out
    equally among the layers.

    Args:
        counted (CountedCost): The model.
        eps (float): LB relative to a layer; 1 is what it is in the code.
    """
    num_layers, end_to_end = len(counted.segment_params), counted.end_to_end
    return Symbols(
        num_layers=num_layers,
        num_blocks=len(counted.blocks),
        eps=eps,
        imbalance=max(counted.segment_params) / min(counted.segment_params),
        params=end_to_end.params / num_layers,
        flops=end_to_end.flops / (2 * num_layers),
        activations=end_to_end.activations / num_layers,
    )


def compare_theory_with_count(counted: CountedCost, eps: float = cost_model.PAPER_EPS) -> dict[str, Any]:
    """Theory and count of every block and of the whole, for a table or as JSON.

    Args:
        counted (CountedCost): The model.
        eps (float): See :func:`theory_of`.

    Returns:
        dict[str, Any]: ``symbols``; ``blocks``, a list with the theory's and the counted cost of each block, the latter
        with its parts; ``end_to_end``; ``whole``, the sum of parameters and operations, and the largest block's
        activations, in theory and counted; ``ratio``, these over end to end's; and ``added_params_ratio_bounds``.
    """
    symbols = theory_of(counted, eps)
    share = symbols.num_layers / symbols.num_blocks
    blocks = []
    for parts in counted.blocks:
        added = 0 if parts is counted.blocks[-1] else 1 + eps
        theory = dict(
            params=(share + added) * symbols.params,
            flops=(2 * share + added) * symbols.flops,
            activations=(share + added) * symbols.activations,
        )
        of_parts = {name: vars(parts[name]) for name in PARTS}
        blocks.append(dict(theory=theory, counted=vars(sum(parts.values(), Count())), parts=of_parts))
    end_to_end = vars(counted.end_to_end)
    whole = dict(
        theory=dict(
            params=end_to_end['params'] + cost_model.added_params(symbols),
            flops=cost_model.flops(symbols),
            activations=cost_model.block_activations(symbols),
        ),
        counted=dict(
            params=sum(block['counted']['params'] for block in blocks),
            flops=sum(block['counted']['flops'] for block in blocks),
            activations=max(block['counted']['activations'] for block in blocks),
        ),
    )
    return dict(
        symbols=vars(symbols),
        blocks=blocks,
        end_to_end=end_to_end,
        whole=whole,
        ratio={who: {name: value[name] / end_to_end[name] for name in value} for who, value in whole.items()},
        added_params_ratio_bounds=cost_model.added_params_ratio_bounds(symbols),
    )


def table(comparison: dict[str, Any]) -> str:
    """Write a comparison for people.

    Args:
        comparison (dict[str, Any]): What :func:`compare_theory_with_count` gave.
    """
    symbols = comparison['symbols']
    low, high = comparison['added_params_ratio_bounds']
    lines = [
        f'L = {symbols["num_layers"]} layers, K = {symbols["num_blocks"]} blocks, eps = {symbols["eps"]:g}, r = '
        f'{symbols["imbalance"]:.4g}; theory: eqs. (8) to (17), to which local heads cost nothing',
        _line('', [title.center(47) for title, _ in QUANTITIES.values()]),
        _line('', len(QUANTITIES) * [_cells(['theory', 'counted', 'layers', 'LB', 'EMA', 'head'])]),
    ]
    for i, block in enumerate(comparison['blocks'], start=1):
        cells = []
        for name, (_, unit) in QUANTITIES.items():
            parts = [block['parts'][part][name] for part in PARTS]
            cells.append(_cells(f'{x / unit:.3f}' for x in (block['theory'][name], block['counted'][name], *parts)))
        lines.append(_line(f'block {i}', cells))
    for label, of in (('sum, largest', comparison['whole']), ('over E2E', comparison['ratio'])):
        cells = []
        for name, (_, unit) in QUANTITIES.items():
            scale = unit if of is comparison['whole'] else 1
            cells.append(_cells([f'{of[who][name] / scale:.3f}' for who in ('theory', 'counted')]))
        lines.append(_line(label, cells))
    own = comparison['end_to_end']
    cells = [_cells(2 * [f'{own[name] / unit:.3f}']) for name, (_, unit) in QUANTITIES.items()]
    lines.insert(-1, _line('end to end', cells))
    lines.append(
        f"added parameters over the model's own: between {low:.3f} and {high:.3f} by eq. (10), "
        f'{comparison["ratio"]["counted"]["params"] - 1:.3f} counted'
    )
    return '\n'.join(lines)


def _cells(values: Any) -> str:
    return ' '.join(f'{value:>7}' for value in values)


def _line(label: str, cells: list[str]) -> str:
    return f'{label:12} ' + ' |'.join(f'{cell:47}' for cell in cells).rstrip()
