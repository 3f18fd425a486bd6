"""What the demos share: train, test with the stock toolbox, read metrics, plot losses. Import it before torch."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

# Both before torch is loaded. On the CPU the demos are the same everywhere, and their numbers repeat.
os.environ['CUDA_VISIBLE_DEVICES'] = ''
# Threads that wait by spinning make a step four times slower where other programs share the cores.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator
from mmengine.config import Config
from mmengine.registry import RUNNERS

ROOT = Path(__file__).resolve().parents[1]
SMOOTHING = 10  # iterations that one point of the plot stands for

# A toolbox's own tools/test.py, in a process where `import mmman` fails.
RUN_WITHOUT_MMMAN = (
    "import runpy, sys; sys.modules['mmman'] = None; sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def parse_args(description: str, work_dir: Path) -> argparse.Namespace:
    """Read the command line of a demo."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--max-iters', type=int, help='train for so many iterations only: a quick check of all steps')
    parser.add_argument('--work-dir', type=Path, default=work_dir, help='where the results go')
    return parser.parse_args()


def clear(folder: Path, published: str) -> None:
    """Remove the results of an earlier demo; nothing else in the folder is touched."""
    for part in ('train', 'test_stock', 'pictures'):
        shutil.rmtree(folder / part, ignore_errors=True)
    for file in folder.glob(f'{published}-*.pth'):
        file.unlink()


def train(config: Path, folder: Path, max_iters: int | None) -> tuple[Path, Path]:
    """Train with the standard Runner; return the checkpoint, and the log of all losses and of the run's validation."""
    cfg = Config.fromfile(config)
    cfg.work_dir = str(folder)
    cfg.log_processor.window_size = SMOOTHING
    if max_iters:
        cfg.train_cfg.update(max_iters=max_iters, val_interval=max_iters)
        cfg.default_hooks.checkpoint.interval = max_iters
        cfg.default_hooks.logger.interval = 1
    runner = RUNNERS.build(cfg)
    runner.train()
    return folder / f'iter_{runner.iter}.pth', Path(runner.log_dir, 'vis_data/scalars.json')


def test_stock(toolbox: ModuleType, config: Path, checkpoint: Path, folder: Path) -> Path:
    """Test with a toolbox's installed tools/test.py, where mmman cannot be imported; return the log of the metrics."""
    test_py = Path(toolbox.__path__[0], '.mim/tools/test.py')
    command = [sys.executable, '-c', RUN_WITHOUT_MMMAN, test_py, config, checkpoint, '--work-dir', folder]
    subprocess.run(list(map(str, command)), check=True)
    (results,) = folder.glob('*/*.json')
    return results


def metrics_of(log: Path, names: tuple[str, ...]) -> dict[str, float]:
    """The last metrics, by the start of their names, in a log with one JSON object a line; nothing where none are."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {key: value for line in lines for key, value in line.items() if key.startswith(names)}


def plot(scalars: Path, file: Path, panels: dict[str, tuple[str, str]], main: str) -> None:
    """Plot losses of all blocks against the iteration, one line for each block.

    ``panels`` has for each title the name of the model's own loss, and of a local loss without its block; ``main`` says
    what the model's own loss trains.
    """
    lines = [line for line in map(json.loads, scalars.read_text().splitlines()) if 'loss' in line]
    blocks = sorted({key.split('.')[0] for key in lines[0] if key.startswith('local') and key.endswith('.loss')})
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 4.5), layout='constrained', sharex=True)
    for axis, (title, (own, local)) in zip(axes, panels.items()):
        for block in (*blocks, 'main'):
            name = own if block == 'main' else f'{block}.{local}'
            style = dict(color='black', linewidth=2) if block == 'main' else {}
            label = f'main ({main})' if block == 'main' else f'{block} (block {block[5:]})'
            axis.plot([line['step'] for line in lines], [line[name] for line in lines], label=label, **style)
        axis.set(title=title, xlabel='iteration', yscale='log')
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.yaxis.set_major_formatter('{x:g}')
        axis.yaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f'loss (mean of {SMOOTHING} iterations)')
    axes[0].legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def finish(failures: list[str], start: float, folder: Path) -> None:
    """Say what failed, how long it took and where the results are; end the program."""
    for failure in failures:
        print(f'FAILED: {failure}')
    print(f'\nDone in {(time.time() - start) / 60:.1f} minutes.')
    print(f'Pictures of predictions, losses.png, checkpoints and logs: {folder}')
    sys.exit(int(bool(failures)))
