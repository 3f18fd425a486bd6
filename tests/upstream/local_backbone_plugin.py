"""A pytest plugin that runs mmdet's own tests with ``LocalBackbone`` at K = 1 in place of their ResNets.

mmdet's tests are in its git repository only, not in its packages; `tools/dev/run_mmdet_tests.sh` runs them with this
plugin, unmodified. ``--stock-backbone`` leaves the backbones alone: the baseline to compare with.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import mmdet
import pytest
from mmdet.models import backbones
from mmdet.registry import MODELS
from mmdet.testing import _utils as mmdet_testing
from torch import nn

from mmman.models import LocalBackbone

REPLACED = tuple(getattr(backbones, name) for name in ('ResNet', 'ResNetV1d', 'ResNeXt'))

# How many backbones each test got replaced: the summary shows it, so that no run passes by replacing nothing.
replaced: dict[str, int] = {}
running: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--stock-backbone``."""
    parser.addoption('--stock-backbone', action='store_true', help='keep the plain backbones: the baseline')


def pytest_configure(config: pytest.Config) -> None:
    """Replace what mmdet builds from configs, and lead its tests to the configs that the installed mmdet ships."""
    shipped = Path(mmdet.__file__).parent / '.mim' / 'configs'
    mmdet_testing._get_config_directory = lambda: str(shipped)
    if not config.getoption('stock_backbone'):
        for plain in REPLACED:
            MODELS.register_module(module=local(plain, from_config=True), name=plain.__name__, force=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Replace what the test modules import and build themselves."""
    if not config.getoption('stock_backbone'):
        for module in {item.module for item in items}:
            for plain in REPLACED:
                if getattr(module, plain.__name__, None) is plain:
                    setattr(module, plain.__name__, local(plain, from_config=False))


def local(plain: type[nn.Module], from_config: bool) -> Callable[..., LocalBackbone]:
    """Make a function that is called like a backbone's class and returns that backbone as a LocalBackbone with K = 1.

    Args:
        plain (type): The backbone's class.
        from_config (bool): Whether LocalBackbone is given the backbone's config; else the backbone, already built.
    """

    @wraps(plain, updated=())
    def build(*args: Any, **kwargs: Any) -> LocalBackbone:
        backbone = dict(type=plain, **kwargs) if from_config else plain(*args, **kwargs)
        made = LocalBackbone(backbone=backbone, partition=dict(num_blocks=1))
        assert isinstance(made, LocalBackbone) and isinstance(made, plain) and len(made.blocks) == 1
        replaced[running[-1]] = replaced.get(running[-1], 0) + 1
        return made

    return build


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Remember which test is running."""
    running.append(item.nodeid)
    try:
        return (yield)
    finally:
        running.pop()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many backbones were replaced, and in how many tests."""
    line = f'LocalBackbone, K = 1: {sum(replaced.values())} backbones replaced in {len(replaced)} tests'
    terminalreporter.write_sep('-', line)
    if terminalreporter.config.get_verbosity() > 0:
        for test, count in replaced.items():
            terminalreporter.write_line(f'{count:4d}  {test}')
