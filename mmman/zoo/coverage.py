"""Run the whole zoo, each kind of config once, and say what came out."""

import importlib
import json
import logging
import multiprocessing
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from mmengine.config import Config

from .trial import Outcome, folder_of, list_configs, signature, try_config

# A server that has imported the toolboxes once forks a process for each config: their import takes as long as a step.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['mmman.zoo.trial', 'mmdet.models', 'mmseg.models', 'mmpretrain.models'])


def run_all(toolboxes: Sequence[str], file: Path, processes: int = 2, seconds: int = 300) -> list[Outcome]:
    """Try one config of every signature, each in a process of its own, and give the others of it the same outcome.

    Args:
        toolboxes (Sequence[str]): The toolboxes.
        file (Path): Where what was found is kept; what it has already is not tried again.
        processes (int): How many at once. Defaults to 2.
        seconds (int): The time that one config has. Defaults to 300.

    Returns:
        list[Outcome]: One for every config.
    """
    groups = _groups(toolboxes)
    found = {tuple(key): Outcome(**value) for key, value in json.loads(file.read_text())} if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)

    def one(key: tuple[str, str]) -> None:
        found[key] = _apart(groups[key][0], seconds)
        file.write_text(json.dumps([(key, asdict(outcome)) for key, outcome in dict(found).items()], indent=0))

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(one, [key for key in groups if key not in found]))
    return [
        replace(found[key], toolbox=member[0], config=member[1])
        for key, members in groups.items()
        for member in members
    ]


def _groups(toolboxes: Sequence[str]) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Configs by toolbox and signature, those of small networks first; what does not load is a group of its own."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for toolbox in toolboxes:
        for path in list_configs(toolbox):
            try:
                cfg = Config.fromfile(folder_of(toolbox) / path)
                if 'model' not in cfg:
                    continue
                key = signature(cfg)
            except Exception:  # whatever is wrong in it, trying it says
                key = str(path)
            groups.setdefault((toolbox, key), []).append((toolbox, str(path)))
    for members in groups.values():
        members.sort(key=lambda member: (_size(member[1]), len(member[1])))
    return groups


def _size(config: str) -> int:
    """By its name, how large a config's model is: 0 for a small one, 1 for one of the usual size, 2 for others."""
    return 0 if any(mark in config for mark in SMALL) else 1 if 'base' in config else 2


TRAINED = 'trained'
HEAD = """# Coverage

Every config with a model that the installed toolboxes ship goes through `mmman.localize`. What it gives is built with
random weights, trained for a step on two made-up images, in which a gradient has to reach every block, and predicts.
One config of each kind (types of all parts of the model, outputs and frozen stages) stands for all of it. What fails is
tried end to end as well. Written by

```
pip install --no-deps -r requirements/coverage.txt   # to build every model: BERT, timm, trackers
tools/dev/zoo_coverage.py
```

*refused*: one line says why, before training or in its first step; among them are configs that do not train end to end
here either (operations that mmcv has for GPUs only, files that do not load, configs for testing only). *failed*: an
error that does not name the reason. Models that read text have a small language model of random weights in the place of
BERT, and where an installed toolbox or a config has a fault that stops a model end to end, too, it is mended before
(`mmman/zoo/toolbox_faults.py`). On a machine without a GPU, with {versions}.
"""
# Of the configs of one kind, one with such a part in its name is tried.
SMALL = ('tiny', 'r18', 'r50', '-s_', 'small', 'b0', '-t-', '-t_', 'nano', 'w18', '400MF', 'xxs', 'A0', '-s-')


def _apart(member: tuple[str, str], seconds: int) -> Outcome:
    """Try a config in a process of its own: whatever ends that process ends no other."""
    reader, writer = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_send, args=(writer, member))
    process.start()
    writer.close()
    try:
        if not reader.poll(seconds):
            return Outcome(*member, status='failed', reason=f'not done within {seconds} s')
        return reader.recv()
    except EOFError:
        process.join()
        return Outcome(*member, status='failed', reason=f'the process ended with {process.exitcode}')
    finally:
        process.kill()
        process.join()
        reader.close()


def _send(writer: Connection, member: tuple[str, str]) -> None:
    os.chdir(folder_of(member[0]).parent)  # where a config's path of its teacher's config begins
    # mmcv's SyncBN asks for the number of processes when it is built.
    torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    writer.send(try_config(*member))


def write_report(outcomes: Sequence[Outcome]) -> str:
    """The report, in Markdown.

    Args:
        outcomes (Sequence[Outcome]): One for every config.
    """
    toolboxes = list(dict.fromkeys(outcome.toolbox for outcome in outcomes))
    trained = [outcome for outcome in outcomes if outcome.status == TRAINED]
    rest = [outcome for outcome in outcomes if outcome.status != TRAINED]
    versions = ', '.join(f'{name} {importlib.import_module(name).__version__}' for name in [*toolboxes, 'torch'])
    lines = [
        HEAD.format(versions=versions),
        '| toolbox | configs | train in blocks | refused | failed |',
        '|---|---|---|---|---|',
    ]
    for name in [*toolboxes, 'all']:
        some = [outcome for outcome in outcomes if name in (outcome.toolbox, 'all')]
        count = Counter(outcome.status for outcome in some)
        share = 100 * count[TRAINED] / max(len(some), 1)
        lines.append(
            f'| {name} | {len(some)} | {count[TRAINED]} ({share:.1f} %) | {count["refused"]} | {count["failed"]} |'
        )
    lines += ['', '## Families', '', '| family | backbones | configs |', '|---|---|---|']
    for family, number in Counter(outcome.family for outcome in trained).most_common():
        kinds = sorted({outcome.backbone for outcome in trained if outcome.family == family})
        lines.append(f'| `{family}` | {", ".join(kinds)} | {number} |')
    lines += ['', '## Why not', '', '| reason | configs | such as |', '|---|---|---|']
    for (toolbox, reason), number in Counter((outcome.toolbox, outcome.reason) for outcome in rest).most_common():
        example = next(outcome.config for outcome in rest if (outcome.toolbox, outcome.reason) == (toolbox, reason))
        lines.append(f'| {_cell(reason)} | {number} | `{toolbox}::{example}` |')
    lines += [
        '',
        '## Folder by folder',
        '',
        '| folder | train in blocks | backbones | local heads |',
        '|---|---|---|---|',
    ]
    folders: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        folders.setdefault(f'{outcome.toolbox}::{outcome.config.split("/")[0]}', []).append(outcome)
    for folder, some in sorted(folders.items()):
        done = [outcome for outcome in some if outcome.status == TRAINED]
        backbones, heads = ({getattr(outcome, key) for outcome in done} for key in ('backbone', 'local_head'))
        lines.append(
            f'| {folder} | {len(done)} of {len(some)} | {", ".join(sorted(backbones))} | {", ".join(sorted(heads))} |'
        )
    return '\n'.join(lines) + '\n'


def _cell(text: str) -> str:
    """Text for a table, without what Markdown reads."""
    for mark in '|<>*_`':
        text = text.replace(mark, f'\\{mark}')
    return text
