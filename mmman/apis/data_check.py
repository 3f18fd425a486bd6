"""Look for a config's data before anything is built, and say which folder is missing and what sets it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.config import Config

# These fetch what is missing by themselves, as those do whose config says `download=True`.
DOWNLOADING = ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')


class DataPath(NamedTuple):
    """A file or folder that a dataset reads."""

    dataset: str
    root: str
    relative: str

    @property
    def path(self) -> str:
        """Where it is; the root counts for nothing before an absolute path, as in mmengine."""
        return os.path.join(self.root, self.relative) if self.relative else self.root


def check_data(cfg: Config, stage: str) -> None:
    """Refuse to go on where a file or folder of the config's data does not exist.

    Paths that are not on this machine's disk, such as `s3://...`, are not looked for.

    Args:
        cfg: The config.
        stage: `'train'` for what training and its validation read, `'test'` for what testing reads.

    Raises:
        FileNotFoundError: One line with the first missing path and the environment variable that the config reads its
            folder from.
    """
    parts = {'train': ('train', 'val'), 'test': ('test',)}[stage]
    paths: list[DataPath] = []
    for part in parts:
        dataloader = cfg.get(f'{part}_dataloader')
        if dataloader is not None:
            paths += _dataset_paths(dataloader.get('dataset'))
    for data in paths:
        if not os.path.exists(data.path):
            raise FileNotFoundError(_message(data, paths, cfg))
    for part in parts:
        for ann_file in _evaluator_files(cfg.get(f'{part}_evaluator')):
            if not os.path.exists(ann_file):
                raise FileNotFoundError(
                    f"Data not found: {part}_evaluator.ann_file '{ann_file}' does not exist; "
                    'it has to name the annotations of the dataset that is evaluated'
                )


def _dataset_paths(dataset: Any) -> Iterator[DataPath]:
    """What a dataset's config, or those that it wraps, reads from this machine's disk."""
    if not isinstance(dataset, Mapping):
        return
    wrapped = [dataset['dataset']] if 'dataset' in dataset else dataset.get('datasets')
    if wrapped is not None:
        for inner in wrapped:
            yield from _dataset_paths(inner)
        return

    kind = dataset.get('type', '')
    kind = kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    if kind in DOWNLOADING or dataset.get('download') or backend not in ('local', 'LocalBackend'):
        return
    root = dataset.get('data_root') or ''
    prefix = dataset.get('data_prefix') or ''
    prefixes = prefix.values() if isinstance(prefix, Mapping) else [prefix]
    relatives = [value for value in (dataset.get('ann_file'), *prefixes) if value and isinstance(value, str)]
    # The folder itself is looked for where nothing in it is named; only then, so that the message names what is read.
    for data in (DataPath(kind, root, relative) for relative in relatives or ['']):
        if data.path and '://' not in data.path:
            yield data


def _evaluator_files(evaluator: Any) -> Iterator[str]:
    """The annotation files on this machine's disk that an evaluator's config names."""
    for metric in evaluator if isinstance(evaluator, list) else [evaluator]:
        ann_file = metric.get('ann_file') if isinstance(metric, Mapping) else None
        if isinstance(ann_file, str) and '://' not in ann_file:
            yield ann_file


def _message(missing: DataPath, paths: list[DataPath], cfg: Config) -> str:
    """The line for a missing path: what, and where to set its folder."""
    name = missing.dataset.removesuffix('Dataset')
    text = f"{name.upper() if name == 'Coco' else name} data not found: '{missing.path}' does not exist"
    if os.path.isabs(missing.relative) or not missing.root:
        return f'{text}; the config names it in full'
    names = {data.relative for data in paths if data.root == missing.root and data.relative}
    *most, last = sorted({_first_part(name) for name in names}) or ['the data']
    holds = 'the folder that holds ' + (f'{", ".join(most)} and {last}' if most else last)
    variable = _variable_of(missing.root, cfg)
    if variable is None:
        return f"{text}; set data_root (now '{missing.root}') in the config to {holds}"
    value = os.environ.get(variable)
    now = f' (now {value!r})' if value else ''
    return f'{text}; set {variable}{now} to {holds}'


def _first_part(relative: str) -> str:
    """The first folder of a path, with a slash, or the path itself where it names a file."""
    first, slash, _ = relative.partition('/')
    return first if '.' in first and not slash else f'{first}/'


def _variable_of(root: str, cfg: Config) -> str | None:
    """The environment variable that a config reads its `data_root` from, if any.

    The config's text says so: mmengine replaces `{{$NAME:default}}` on reading, and keeps the text of the file and of
    all its bases as they were.
    """
    for name, default in re.findall(r'\{\{\s*\$\s*(\w+)\s*:\s*(\S*?)\s*\}\}', cfg.text or ''):
        value = os.environ.get(name, default)
        if value and root.startswith(value):
            return name
    return None
