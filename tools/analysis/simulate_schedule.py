#!/usr/bin/env python
"""How long training takes on several devices, simulated from block times; or the paper's Table VIII compared."""

import argparse

from mmman.theory.paper_times import TABLE_8, fit_link, fit_loss, predict, with_loss
from mmman.theory.schedule import Link, Schedule, TimedBlock, group, read_blocks
from mmman.theory.simulate import simulate


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--times', type=float, nargs='+', help='seconds per batch of each block')
    source.add_argument('--json', help='measured blocks (see docs/en/pipeline_time.md), instead of --times and bytes')
    source.add_argument('--table8', action='store_true', help="compare with the paper's Table VIII")
    for name in ('gradient', 'output', 'source'):
        parser.add_argument(f'--{name}-bytes', type=float, nargs='+', default=[0], help='one for all, or one per block')
    parser.add_argument('--end-to-end', type=float, help='seconds per batch end to end, to compare with --times')
    parser.add_argument('--end-to-end-bytes', type=float, default=0, help='its gradients')
    parser.add_argument('--devices', type=int, default=4, help='(default: 4)')
    parser.add_argument('--link', type=float, default=float('inf'), help='bytes per second (default: unlimited)')
    parser.add_argument('--latency', type=float, default=0, help='seconds (default: 0)')
    parser.add_argument('--forward-fraction', type=float, default=1 / 3, help="of a block's time (default: 1/3)")
    parser.add_argument('--delay', type=int, nargs='+', default=[0, 1], help='steps (default: 0 and 1)')
    parser.add_argument('--queue', type=int, help='outputs that may wait between stages (default: unlimited)')
    parser.add_argument('--prefetch', action='store_true', help='messages travel while the receiver computes')
    parser.add_argument('--jitter', type=float, default=0, help='sigma of the log-normal factor (default: 0)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--batches', type=int, default=1000, help='per epoch, on one device (default: 1000)')
    parser.add_argument('--iterations', type=int, default=400, help='simulated ones (default: 400)')
    return parser.parse_args()


def blocks_of(args: argparse.Namespace) -> tuple[list[TimedBlock], TimedBlock | None]:
    if args.json:
        return read_blocks(args.json)
    columns = [args.times]
    for name in ('gradient_bytes', 'output_bytes', 'source_bytes'):
        values = getattr(args, name)
        if len(values) not in (1, len(args.times)):
            raise ValueError(f'--{name.replace("_", "-")} takes 1 or {len(args.times)} values, got {len(values)}')
        columns.append(values * (len(args.times) // len(values)))
    end_to_end = TimedBlock(args.end_to_end, args.end_to_end_bytes) if args.end_to_end else None
    return [TimedBlock(*row) for row in zip(*columns, strict=True)], end_to_end


def schedules_of(
    args: argparse.Namespace, blocks: list[TimedBlock], end_to_end: TimedBlock | None
) -> dict[str, Schedule]:
    common = dict(
        link=Link(args.link, args.latency),
        forward_fraction=args.forward_fraction,
        queue=args.queue,
        prefetch=args.prefetch,
        jitter=args.jitter,
        seed=args.seed,
    )
    found = {}
    for name, row in (('end to end', end_to_end and [end_to_end]), ('blocks', blocks)):
        if row:
            found[f'{name}, 1 device'] = Schedule(group(row, 1), **common)
            found[f'{name}, data parallel'] = Schedule(group(row, 1), args.devices, **common)
    for stages in range(2, min(args.devices, len(blocks)) + 1):
        if args.devices % stages == 0:
            for delay in args.delay:
                name = f'{args.devices // stages} pipeline(s) of {stages}, delay {delay}'
                found[name] = Schedule(group(blocks, stages), args.devices // stages, delay=delay, **common)
    return found


def print_schedules(args: argparse.Namespace) -> None:
    blocks, end_to_end = blocks_of(args)
    print(
        f'{"":29} {"devices":>7} {"s/iter":>8} {"s/batch":>8} {"s/epoch":>8} {"speed-up":>8} {"ideal":>6} '
        f'{"fill s":>7} {"waiting":>7} {"stale":>5}  utilisation'
    )
    one = None
    for name, schedule in schedules_of(args, blocks, end_to_end).items():
        timing = simulate(schedule, args.iterations)
        one = timing.seconds_per_batch if schedule.devices == 1 else one
        print(
            f'{name:29} {schedule.devices:7} {timing.seconds_per_iteration:8.4f} {timing.seconds_per_batch:8.4f} '
            f'{timing.seconds(args.batches):8.1f} {one / timing.seconds_per_batch:8.2f} {schedule.ideal_speedup:6.2f} '
            f'{timing.fill:7.3f} {timing.waiting:7} {timing.staleness:5}  '
            + ' '.join(f'{part:.2f}' for part in timing.utilisation)
        )


def print_table_8(forward_fraction: float) -> None:
    link = fit_link(TABLE_8[0], forward_fraction)
    constant, share = loss = fit_loss(TABLE_8[:4])
    print(f'Seconds per epoch, predicted / paper (error). Link fitted on {TABLE_8[0].name} end to end:', end=' ')
    print(f'{link.bytes_per_second / 1e9:.2f} GB/s, forward fraction {forward_fraction:.2f}')
    print(f'{"":15} {"end to end DDP":>22} {"MAN++ DDP":>22} {"pipeline, free links":>22} {"fitted":>7}', end=' ')
    print(f'{"speed-up":>8} {"max share":>9} {"least GB/s":>10}')
    for row in TABLE_8:
        found = predict(row, link, forward_fraction)
        print(
            f'{row.name:15}',
            beside(found.end_to_end_ddp, row.end_to_end_ddp),
            beside(found.manpp_ddp, row.manpp_ddp),
            beside(found.pipeline, row.pipeline),
            f'{found.pipeline_linked:7.0f} {row.manpp / row.pipeline:8.2f} {row.pipeline_share:9.3f}',
            f'{row.least_link / 1e9:10.2f}' + (' impossible' if row.pipeline_share < 1 / row.devices else ''),
        )
    print(f'\nLost per iteration: {constant * 1e3:.0f} ms + {share:.3f} of it, fitted on ImageNet end to end')
    for row in TABLE_8:
        print(
            f'{row.name:15}',
            beside(with_loss(row, row.end_to_end, loss), row.end_to_end_ddp),
            beside(with_loss(row, row.manpp, loss), row.manpp_ddp),
        )


def beside(predicted: float, paper: float) -> str:
    return f'{predicted:6.0f} / {paper:5.0f} ({predicted / paper - 1:+6.1%})'


def main() -> None:
    args = parse_args()
    try:
        if args.table8:
            print_table_8(args.forward_fraction)
        else:
            print_schedules(args)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'simulate_schedule.py: {error}') from None


if __name__ == '__main__':
    main()
