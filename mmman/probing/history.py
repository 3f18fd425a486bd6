"""How the losses of the blocks and the scales s of their auxiliary networks went during training."""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class History:
    """What ``LocalLossHook`` logged. The lists are of one length.

    Args:
        steps (list[int]): Iterations.
        losses (dict[str, list[float]]): By block, its local loss; of the last block, the model's own.
        scales (dict[str, list[float]]): By block, s; none where the auxiliary networks have none.
    """

    steps: list[int]
    losses: dict[str, list[float]]
    scales: dict[str, list[float]]


def read_history(work_dir: Path) -> History:
    """Read the scalars that all runs in a work dir have logged, a later run going on where it begins.

    Args:
        work_dir (Path): A run's folder, with ``<time>/vis_data/scalars.json``.

    Raises:
        FileNotFoundError: If nothing was logged there.
        ValueError: If no local losses were.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f"nothing was logged in '{work_dir}': there is no */vis_data/scalars.json")
    lines: dict[int, dict] = {}
    for file in files:
        run = [line for line in map(json.loads, file.read_text().splitlines()) if 'loss' in line]
        # A resumed run has the steps behind its checkpoint again; one that starts anew replaces all.
        lines = {step: line for step, line in lines.items() if run and step < run[0]['step']} if run else lines
        lines.update({line['step']: line for line in run})
    steps = sorted(lines)
    blocks = sorted(
        {int(found[1]) for line in lines.values() for key in line if (found := re.fullmatch(r'local(\d+)\.loss', key))}
    )
    if not blocks:
        raise ValueError(
            f"no local losses were logged in '{work_dir}': add custom_hooks = [dict(type='mmman.LocalLossHook')]"
        )

    def column(key: str) -> list[float]:
        return [lines[step].get(key, float('nan')) for step in steps]

    losses = {f'block {i}': column(f'local{i}.loss') for i in blocks}
    losses[f'block {len(blocks) + 1} (model)'] = column('loss')
    with_scale = [i for i in blocks if f'local{i}.scale' in lines[steps[0]]]
    return History(steps, losses, {f'block {i}': column(f'local{i}.scale') for i in with_scale})
