"""Which levels of its pyramid a dense head of mmdet names, and its config for some of them only."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.registry import TASK_UTILS

from mmman.registry import MODELS
from mmman.toolboxes import class_of, type_name

# What each level of mmdet's AnchorGenerator has, whichever it is, if the entries are numbers. In SSDAnchorGenerator
# they are lists, one for each level.
SHARED = frozenset(['ratios', 'scales'])
# The number of levels itself (RetinaSepBNHead). A number says nothing of the kind by itself, so these are named.
COUNTS = frozenset(['num_ins', 'num_levels'])
# Not settings of levels, whatever their lengths are.
OTHERS = frozenset(['type', 'in_channels', 'init_cfg', 'train_cfg', 'test_cfg'])


class HeadLevels:
    """The settings of a dense head's config that have one entry per pyramid level.

    A setting counts where mmdet's ``build`` would find it: in the config, or as a default in the signature of the
    head's class and, as far as ``**kwargs`` lead, of its bases. The *strides* are an entry ``strides`` or
    ``..._strides`` of the head or of a dict in it (``anchor_generator``, ``square_anchor_generator``, ...). Beside
    strides, a sequence of numbers (or of sequences of numbers) that is as long as they are has one entry per level,
    with two exceptions: a class's default shows that the length has nothing to do with the levels, or each level of an
    anchor generator has all of it (``ratios``, ``scales``). A dict without strides (``bbox_coder``, losses, assigners)
    has no levels.

    Args:
        head (dict): Config of the dense head, with all levels.

    Attributes:
        name (str): The head's class, for messages.
        kind (type, optional): The head's class; None if nobody registered it.
        strides (list[float]): Strides of all levels in pixels, in the head's order.

    Raises:
        ValueError: If the head has no strides, several pyramids, or resizes the levels that it is given (SOLO).
    """

    def __init__(self, head: dict) -> None:
        if not isinstance(head, dict) or 'type' not in head:
            raise ValueError(
                f'DetectionLocalHead.head must be the config of a dense head of mmdet, with its type, got {head!r}: a '
                'two-stage detector has none to copy, take configs/_base_/local_learning/retina.py'
            )
        self.name = type_name(head['type'])
        self._config = dict(head)
        self.kind = class_of(head['type'], MODELS)
        self._defaults = _keywords(self.kind)
        self.strides = self._find_strides()
        if len(set(self.strides)) < len(self.strides) or hasattr(self.kind, 'resize_feats'):
            raise ValueError(
                f'DetectionLocalHead: {self.name} resizes the levels of its pyramid (its strides are {self.strides}), '
                'so that it cannot have some of them alone. Take another dense head'
            )

    def _find_strides(self) -> list[float]:
        """The strides that the config names or, where it names none, the first that the classes have as a default."""
        given = {path: _numbers(self.name, value) for path, value in _strides_in(self._config)}
        if len({tuple(strides) for strides in given.values()}) > 1:
            named = ', '.join(f'{path}={strides}' for path, strides in given.items())
            raise ValueError(f'DetectionLocalHead: {self.name} names different pyramids ({named}): give one')
        for _, value in [*_strides_in(self._config), *_strides_in(self._unset)]:
            return _numbers(self.name, value)
        raise ValueError(
            f'DetectionLocalHead: the config of {self.name} names no strides, so no level belongs to a block. Take a '
            'head on a pyramid, with all its strides, as in RetinaHead: anchor_generator=dict(..., '
            'strides=[8, 16, 32, 64, 128]), or FCOSHead: strides=[8, 16, 32, 64, 128]'
        )

    @property
    def _unset(self) -> dict[str, Any]:
        """The defaults that the config leaves as they are."""
        return {key: value for key, value in self._defaults.items() if key not in self._config}

    def inherits(self, name: str) -> bool:
        """Whether the head's class is, or inherits from, the class of this name."""
        return name in (base.__name__ for base in (inspect.getmro(self.kind) if self.kind else ()))

    def setting(self, key: str) -> Any:
        """The value of a keyword: the config's, or the default."""
        return {**self._defaults, **self._config}.get(key)

    @property
    def unequal(self) -> str:
        """A remark on settings that usually have one entry per level, but do not here; empty if there are none."""
        lengths = {
            key: len(self.setting(key))
            for key, default in self._defaults.items()
            if _is_sequence(default) and len(default) == self._usual_number and _is_sequence(self.setting(key))
        }
        others = [f'{key} {length}' for key, length in lengths.items() if length != len(self.strides)]
        return f' (the pyramid has {len(self.strides)} strides, but {", ".join(others)})' if others else ''

    @property
    def _usual_number(self) -> int | None:
        """Number of levels that the class has by default."""
        return next((len(value) for _, value in _strides_in(self._defaults)), None)

    def config_at(self, levels: Sequence[int], channels: int) -> dict:
        """The head's config with some of its levels only.

        Args:
            levels (Sequence[int]): Their indices in ``strides``.
            channels (int): Channels of each level.

        Returns:
            dict: A new config, ``in_channels`` filled in.

        Raises:
            ValueError: If a prior generator has other priors at these levels once it has no other level.
        """
        each = _is_sequence(self.setting('in_channels'))
        config = {**self._config, 'in_channels': [channels] * len(levels) if each else channels}
        if list(levels) == list(range(len(self.strides))):
            return config
        for key, value in [*self._config.items(), *self._unset.items()]:
            if isinstance(value, dict) and any(_strides_in(value)):
                config[key] = self._dict_at(key, value, levels)
            elif self._has_one_entry_per_level(key, value, self._defaults.get(key)):
                config[key] = [value[i] for i in levels]
            elif key in COUNTS and value == len(self.strides):
                config[key] = len(levels)
        return config

    def _dict_at(self, name: str, config: dict, levels: Sequence[int]) -> dict:
        """A prior generator's config with some of its levels only, proven by its priors."""
        cut = {
            key: [value[i] for i in levels] if self._has_one_entry_per_level(key, value) else value
            for key, value in config.items()
        }
        generator = class_of(config.get('type'), TASK_UTILS)
        if hasattr(generator, 'grid_priors'):
            whole, part = (
                TASK_UTILS.build(dict(c)).grid_priors([(2, 2)] * number, device='cpu')
                for c, number in ((config, len(self.strides)), (cut, len(levels)))
            )
            if not all(torch.equal(whole[i], priors) for i, priors in zip(levels, part, strict=True)):
                raise ValueError(
                    f'DetectionLocalHead: {name} of {self.name} ({generator.__name__}) has other priors with the '
                    f'strides {cut["strides"]} alone than with all of {self.strides}: name its sizes for each level '
                    '(SSDAnchorGenerator: min_sizes and max_sizes), or take another dense head'
                )
        return cut

    def _has_one_entry_per_level(self, key: str, value: Any, default: Any = None) -> bool:
        if key in OTHERS or not _is_sequence(value) or len(value) != len(self.strides):
            return False
        if _is_sequence(default) and self._usual_number not in (None, len(default)):
            return False
        if key in SHARED and not any(map(_is_sequence, value)):
            return False
        return all(_is_number(entry) or _is_sequence(entry) for entry in value)


def _keywords(kind: type | None) -> dict[str, Any]:
    """The keywords that a class takes and their defaults (``inspect.Parameter.empty`` where there is none)."""
    found: dict[str, Any] = {}
    for base in inspect.getmro(kind) if isinstance(kind, type) else ():
        if '__init__' not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)['__init__']).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break  # what this one does not take never reaches its bases
    return found


def _strides_in(config: dict) -> Iterator[tuple[str, Sequence]]:
    """All strides in a config and in the dicts in it, with the names that lead there."""
    for key, value in config.items():
        if key in OTHERS:
            continue
        for name, entry in value.items() if isinstance(value, dict) else [(None, value)]:
            if (name or key).endswith('strides') and _is_sequence(entry):
                yield f'{key}.{name}' if name else key, entry


def _numbers(name: str, strides: Sequence) -> list[float]:
    """Strides as one number for each level."""
    pairs = [stride if _is_sequence(stride) else (stride, stride) for stride in strides]
    if any(len(set(pair)) > 1 for pair in pairs):
        raise ValueError(
            f'DetectionLocalHead: {name} has cells that are not square ({list(strides)}), as no block has them'
        )
    return [pair[0] for pair in pairs]


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
