"""Look for a config's data before anything is built, and say which folder is missing and what sets it."""

from __future__ import annotations

import os
import re

from mmengine.config import Config

from mmman.toolboxes import toolbox_of

from .data_paths import DataPath, dataset_paths, evaluator_files

# The parts of a config that a stage reads.
PARTS = {'train': ('train', 'val'), 'test': ('test',), 'step': ('train',)}


def check_data(cfg: Config, stage: str) -> None:
    """Refuse to go on where a file or folder that is sure to be read does not exist.

    Where it is not sure, the toolbox will say what it misses.

    Args:
        cfg: The config.
        stage: `'train'` for what training and its validation read, `'test'` for what testing reads, `'step'` for what a
            single training step reads.

    Raises:
        FileNotFoundError: One line with the first missing path and the environment variable that the config reads its
            folder from.
    """
    scope = toolbox_of(cfg)
    paths: list[DataPath] = []
    for part in PARTS[stage]:
        dataloader = cfg.get(f'{part}_dataloader')
        if dataloader is not None:
            paths += dataset_paths(dataloader.get('dataset'), scope)
    for data in paths:
        if not data.exists:
            raise FileNotFoundError(_message(data, paths, cfg))
    for part in PARTS[stage]:
        for ann_file in evaluator_files(cfg.get(f'{part}_evaluator'), scope):
            if not os.path.exists(ann_file):
                raise FileNotFoundError(
                    f"Data not found: {part}_evaluator.ann_file '{ann_file}' does not exist; "
                    'it has to name the annotations of the dataset that is evaluated'
                )


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
