#!/usr/bin/env python
"""Find the way to train any config within a memory that takes the least work: end to end, or in blocks."""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import DictAction

from mmman.apis import launch
from mmman.apis.memory_plan import about_batch, planned_config
from mmman.apis.plan_costs import CannotPlanError, measure_config
from mmman.costs.units import parse_bytes
from mmman.planning import Planner
from mmman.planning.frontier_plot import plot_planner
from mmman.planning.plan_report import answer, frontier_table
from mmman.planning.planner import CHOICES


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file, or mmdet::... for one that a toolbox ships')
    parser.add_argument('--memory', type=parse_bytes, required=True, help='bytes to stay within: 8GB, 7.5GiB, 900MB')
    parser.add_argument('--batch-size', type=int, help="images in a batch (default: the config's)")
    parser.add_argument('--objects', type=int, help='objects in an image (default: the most in the data, else 50)')
    parser.add_argument('--amp', action='store_true', help='plan for mixed precision')
    parser.add_argument(
        '--local-learning',
        choices=CHOICES,
        default='if-better',
        help='whether blocks may learn locally (default: if that takes 3 %% less work than the best end to end)',
    )
    parser.add_argument('--least-blocks', type=int, default=2, help='the smallest K to consider (default: 2)')
    parser.add_argument(
        '--out', type=Path, nargs='+', default=[], help='files to write: the config (.py), a picture (.png)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        with tempfile.TemporaryDirectory() as work_dir:
            cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
        measured = measure_config(cfg, args.batch_size, args.objects, args.amp)
        planner = Planner(measured.costs, least_blocks=args.least_blocks)
        plan = planner.best(args.memory, args.local_learning)
        print(frontier_table(planner))
        print('\n'.join(['', *answer(planner, args.memory, args.local_learning)]))
        if measured.only_end_to_end:
            print(f'- no local learning: {measured.only_end_to_end}')
        if plan is None:
            raise SystemExit(1)
        about = about_batch(measured, args.memory, args.amp)
        named = next((str(out) for out in args.out if out.suffix == '.py'), 'planned.py')
        text = planned_config(args.config, cfg, named, planner, plan, about, args.batch_size)
    except (FileNotFoundError, CannotPlanError) as error:
        raise SystemExit(f'plan.py: {error}') from None
    print(f'\n{text}')
    for out in args.out:
        if out.suffix == '.py':
            out.write_text(text)
        else:
            plot_planner(planner, plan, out)
        print(f'wrote {out}')


if __name__ == '__main__':
    main()
