#!/usr/bin/env python
"""Linear CKA of a model's layers with those of an end-to-end model, on the test data; a second seed is what to expect.

Writes two pictures, the layers of the same name and all with all, and the numbers as JSON beside them.
"""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import DictAction
from mmengine.fileio import dump

from mmman.apis import launch
from mmman.probing.checkpoint import LoadedModel
from mmman.probing.cka import compare_layers
from mmman.probing.plots import Panel, draw_matrix, draw_panels


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config file')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument('--reference', nargs=2, required=True, metavar=('CONFIG', 'CHECKPOINT'), help='end to end')
    parser.add_argument('--second-reference', metavar='CHECKPOINT', help="of the reference's config with another seed")
    parser.add_argument('--batch-size', type=int, default=64, help='images that are compared at a time (default: 64)')
    parser.add_argument('--out', type=Path, help='the picture (default: cka.png beside the checkpoint)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over both configs')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or Path(args.checkpoint).with_name('cka.png')
    wanted = {'model': (args.config, args.checkpoint), 'reference': tuple(args.reference)}
    if args.second_reference:
        wanted['second seed of the reference'] = (args.reference[0], args.second_reference)
    try:
        with tempfile.TemporaryDirectory() as work_dir:
            loaded = {}
            for name, (path, checkpoint) in wanted.items():
                cfg = launch.load_config(path, args.cfg_options, work_dir=work_dir)
                cfg.log_level = 'WARNING'
                cfg.test_dataloader.batch_size = args.batch_size
                launch.check_data(cfg, 'test')
                loaded[name] = LoadedModel(cfg, checkpoint)
            reference = loaded.pop('reference')
            found = dict(zip(loaded, compare_layers(list(loaded.values()), reference), strict=True))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'cka.py: {error}') from None

    names = [segment.name for segment in reference.segments]
    same = {name: matrix.diagonal().tolist() for name, matrix in found.items()}
    print(f'{"layer":12}' + ''.join(f'{name:>30}' for name in same))
    for i, layer in enumerate(names):
        print(f'{layer:12}' + ''.join(f'{values[i]:30.3f}' for values in same.values()))
    print(f'{"mean":12}' + ''.join(f'{sum(values) / len(values):30.3f}' for values in same.values()))
    draw_panels([Panel('Linear CKA with the reference, layer by layer', names, same, ylabel='CKA')], out)
    matrix = out.with_name(f'{out.stem}_matrix{out.suffix}')
    draw_matrix(found['model'].numpy(), names, 'Linear CKA', ('model', 'reference'), matrix)
    numbers = dict(layers=names, **{name: values.tolist() for name, values in found.items()})
    dump(numbers, out.with_suffix('.json'), indent=1)
    print(f'{out}, {matrix}')


if __name__ == '__main__':
    main()
