"""Which files and folders a config's data sets and metrics are sure to read from this machine's disk."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmengine.registry import DATASETS, METRICS, Registry

from mmman.toolboxes import TOOLBOXES, type_name

# Whose classes are known to read what their configs name.
KNOWN = (*TOOLBOXES, 'mmengine', 'mmman')

# What reads the files under a prefix, by the prefix's key.
IMAGES = dict.fromkeys(('img', 'img_path'), ('LoadImageFromFile',))
LABELS = dict.fromkeys(('seg', 'seg_map_path'), ('LoadAnnotations', 'LoadPanopticAnnotations'))
DEPTHS = {'depth_map_path': ('LoadDepthAnnotation',)}
READERS = {**IMAGES, **LABELS, **DEPTHS}


class DataPath(NamedTuple):
    """A file or folder that a dataset reads."""

    dataset: str
    root: str
    relative: str

    @property
    def path(self) -> str:
        """Where it is; the root counts for nothing before an absolute path, as in mmengine."""
        return os.path.join(self.root, self.relative) if self.relative else self.root

    @property
    def exists(self) -> bool:
        """Whether it is there; mmpretrain takes ``~`` for the home folder."""
        return os.path.exists(self.path) or os.path.exists(os.path.expanduser(self.path))


def dataset_paths(dataset: Any, scope: str) -> Iterator[DataPath]:
    """What a dataset, or those that it wraps, is sure to read.

    Left out is all that may not be read as the config names it: what no step of the pipeline loads, what lies on
    another storage or is downloaded, names that are filled in later, and everything of a class that adds methods of its
    own to those of the toolboxes, or is none of theirs.

    Args:
        dataset (Any): The dataset's config; another object reads nothing any more.
        scope (str): The scope that types are looked up in.
    """
    if not isinstance(dataset, Mapping):
        return
    cls = _known_class(dataset.get('type'), DATASETS, scope)
    if cls is None:
        return
    wrapped = dataset.get('datasets', dataset.get('dataset'))
    if wrapped is not None:
        for inner in wrapped if isinstance(wrapped, list | tuple) else [wrapped]:
            yield from dataset_paths(inner, scope)
        return
    if dataset.get('download', _default(cls, 'download')) or not _is_local(dataset):
        return
    prefix = dataset.get('data_prefix') or {}
    prefixes = dict(prefix if isinstance(prefix, Mapping) else {'img_path': prefix})
    named = {'ann_file': dataset.get('ann_file'), **prefixes}
    toolbox = next(name for name in map(_package, cls.__mro__) if name in KNOWN)
    read = [value for key, value in named.items() if value and _is_read(key, dataset, toolbox)]
    # The folder itself is looked for where nothing in it is named; only then, so that the message names what is read.
    for relative in read if any(named.values()) else ['']:
        data = DataPath(type_name(dataset['type']), dataset.get('data_root') or '', relative)
        if isinstance(relative, str) and data.path and _is_path(data.path):
            yield data


def evaluator_files(evaluator: Any, scope: str) -> Iterator[str]:
    """The annotation files that an evaluator's metrics are sure to read.

    Args:
        evaluator (Any): The config of an evaluator or a metric, or a list of these.
        scope (str): The scope that types are looked up in.
    """
    if isinstance(evaluator, list | tuple):
        for metric in evaluator:
            yield from evaluator_files(metric, scope)
    elif isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        yield from evaluator_files(evaluator['metrics'], scope)
    elif isinstance(evaluator, Mapping) and _known_class(evaluator.get('type'), METRICS, scope) is not None:
        ann_file = evaluator.get('ann_file')
        if isinstance(ann_file, str) and ann_file and _is_path(ann_file) and _is_local(evaluator):
            yield ann_file


def _known_class(kind: str | type | None, registry: Registry, scope: str) -> type | None:
    """The class of a type, if it is a toolbox's, or differs from one in attributes only (such as ``METAINFO``)."""
    cls = kind
    if isinstance(kind, str):
        with registry.switch_scope_and_registry(scope) as scoped:
            cls = scoped.get(kind)
    if not isinstance(cls, type) or not any(_package(base) in KNOWN for base in cls.__mro__):
        return None
    known = next(i for i, base in enumerate(cls.__mro__) if _package(base) in KNOWN)
    added = [value for base in cls.__mro__[:known] for value in vars(base).values()]
    return None if any(inspect.isroutine(value) or isinstance(value, property) for value in added) else cls


def _package(cls: type) -> str:
    return cls.__module__.partition('.')[0]


def _default(cls: type, name: str) -> Any:
    """The default of an argument of a class, or of the base that has it; None where there is none."""
    for base in cls.__mro__:
        argument = inspect.signature(base.__init__).parameters.get(name) if '__init__' in vars(base) else None
        if argument is not None:
            return argument.default
    return None


def _is_read(key: str, dataset: Mapping, toolbox: str) -> bool:
    """Whether what a key of a dataset's config names is sure to be read."""
    if key == 'ann_file':
        return True
    pipeline = dataset.get('pipeline')
    if key in IMAGES and (pipeline is None or (toolbox != 'mmdet' and not dataset.get('ann_file'))):
        return True  # without a list of images, mmseg and mmpretrain list the folder
    return any(isinstance(step, Mapping) and _reads(step, key, toolbox) for step in pipeline or [])


def _reads(step: Mapping, key: str, toolbox: str) -> bool:
    """Whether a step of a pipeline reads the files under the prefix of this key, from the local disk."""
    name = type_name(step.get('type'))
    if name not in READERS.get(key, ()) or not _is_local(step):
        return False
    if key in LABELS and toolbox != 'mmseg':  # mmdet's reads objects, and label maps if it is told to
        return step.get('with_seg', name == 'LoadPanopticAnnotations')
    return True


def _is_local(settings: Mapping) -> bool:
    """Whether files are read from the local disk, by the storage backend that a config names."""
    arguments = settings.get('backend_args') or settings.get('file_client_args') or {}
    return type_name(arguments.get('backend', 'local')) in ('local', 'disk', 'LocalBackend', 'HardDiskBackend')


def _is_path(text: str) -> bool:
    """Whether a text is a path as it stands: no address, and nothing in it is filled in later."""
    return '://' not in text and not any(sign in text for sign in '{}%$')
