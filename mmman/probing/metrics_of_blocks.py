"""The command line of analyses that give every block of a checkpoint's model its metrics."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import DictAction

from mmman.apis import launch

from .checkpoint import LoadedModel, Metrics
from .plots import draw_metrics


def main(
    description: str,
    measure: Callable[[LoadedModel], dict[str, Metrics]],
    title: str,
    splits: Sequence[str] = ('test',),
    config_help: str = 'the config file',
    checkpoint_help: str = 'the checkpoint file',
) -> None:
    """Read the command line, load the checkpoint, measure, print a table, draw a picture and write the numbers.

    Args:
        description (str): What the command does.
        measure (Callable): Gives the metrics of each block of a loaded model.
        title (str): The picture's title.
        splits (Sequence[str]): Splits of the data that must be there: ``'train'``, ``'test'``. Defaults to the latter.
        config_help (str): What config the command takes.
        checkpoint_help (str): What checkpoint it takes.

    Raises:
        SystemExit: If data or checkpoint are missing or do not fit, in one line.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help=config_help)
    parser.add_argument('checkpoint', help=checkpoint_help)
    name = Path(parser.prog)
    parser.add_argument('--out', type=Path, help=f'the picture (default: {name.stem}.png beside the checkpoint)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings merged over the config')
    args = parser.parse_args()
    out = args.out or Path(args.checkpoint).with_name(f'{name.stem}.png')
    try:
        with tempfile.TemporaryDirectory() as work_dir:
            cfg = launch.load_config(args.config, args.cfg_options, work_dir=work_dir)
            cfg.log_level = 'WARNING'
            for split in splits:
                launch.check_data(cfg, split)
            found = measure(LoadedModel(cfg, args.checkpoint))
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'{name}: {error}') from None
    print(draw_metrics(found, title, out))
