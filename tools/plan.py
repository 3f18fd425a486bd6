#!/usr/bin/env python
"""Find the way to train any config within a memory that takes the least work: end to end, or in blocks."""

import argparse
import importlib.util
import tempfile
from pathlib import Path

from mmengine.config import DictAction

from mmman.apis import launch
from mmman.apis.memory_plan import about_batch, batch_in_words, last_resort, planned_config
from mmman.apis.plan_costs import CannotPlanError, measure_config
from mmman.costs.units import parse_bytes
from mmman.planning import Plan, Planner
from mmman.planning.frontier_plot import plot_planner
from mmman.planning.plan_report import answer, frontier_table
from mmman.planning.planner import CHOICES

SUFFIXES = ('.py', '.png', '.html')


def parse_out(text: str) -> Path:
    """A file to write."""
    path = Path(text)
    if path.suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"expected a config (.py), a picture (.png) or a page (.html), got '{text}'")
    if path.suffix == '.html' and importlib.util.find_spec('plotly') is None:
        raise argparse.ArgumentTypeError("a page is drawn by the package plotly: pip install 'mmman[analysis]'")
    return path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file, or mmdet::... for one that a toolbox ships')
    parser.add_argument('--memory', type=parse_bytes, required=True, help='bytes to stay within: 8GB, 7.5GiB, 900MB')
    parser.add_argument('--batch-size', type=int, help="images in a batch (default: the config's)")
    parser.add_argument('--objects', type=int, help='objects in an image (default: the most in the data, else 50)')
    parser.add_argument('--amp', action='store_true', help='plan for mixed precision')
    parser.add_argument(
        '--time',
        action='store_true',
        help="for the shortest step on this machine's processor, operations timed one by one, not for the fewest FLOPs",
    )
    parser.add_argument(
        '--local-learning',
        choices=CHOICES,
        default='if-better',
        help='whether blocks may learn locally (default: if that takes 3 %% less work than the best end to end)',
    )
    parser.add_argument('--least-blocks', type=int, default=2, help='the smallest K to consider (default: 2)')
    parser.add_argument(
        '--out',
        type=parse_out,
        nargs='+',
        default=[],
        help='files to write: the config (.py), a picture (.png), a page with a slider for the memory (.html)',
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        run(args)
    except (FileNotFoundError, CannotPlanError) as error:
        raise SystemExit(f'plan.py: {error}') from None


def run(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as work_dir:
        cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
    measured = measure_config(cfg, args.batch_size, args.objects, args.amp, args.time)
    planner = Planner(measured.costs, 'seconds' if args.time else 'flops', least_blocks=args.least_blocks)
    plan = planner.best(args.memory, args.local_learning)
    print(frontier_table(planner))
    print('\n'.join(['', *answer(planner, args.memory, args.local_learning)]))
    why = f'no local learning: {measured.only_end_to_end}' if measured.only_end_to_end else ''
    if why:
        print(f'- {why}')
    if plan is None:
        more = last_resort(
            cfg, measured.num_images, args.memory, args.local_learning, num_objects=args.objects, amp=args.amp
        )
        print(f'- {more}' if more else '- smaller batches, their gradients accumulated: nothing fits')
    named = next((str(out) for out in args.out if out.suffix == '.py'), 'planned.py')

    def text_of(plan: Plan, memory: int) -> str:
        about = about_batch(measured, memory, args.amp)
        return planned_config(args.config, cfg, named, planner, plan, about, args.batch_size)

    if plan is not None:
        text = text_of(plan, args.memory)
        print(f'\n{text}')
    for out in args.out:
        if out.suffix == '.html':
            from mmman.planning.plan_page import plan_page  # here, because nothing else wants plotly

            about = '; '.join(filter(None, [batch_in_words(measured, args.amp), why]))
            page = plan_page(planner, args.memory, args.local_learning, args.config, about, text_of)
            out.write_text(page, encoding='utf-8')
        elif plan is None:
            continue
        elif out.suffix == '.py':
            out.write_text(text)
        else:
            plot_planner(planner, plan, out)
        print(f'wrote {out}')
    if plan is None:
        raise SystemExit(1)


if __name__ == '__main__':
    main()
