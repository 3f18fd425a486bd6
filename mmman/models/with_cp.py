"""Which parts of a backbone compute their activations again: what ``LocalBackbone.with_cp`` may say."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmman.memory.recompute import MODES
from mmman.partition import Block, Segment

WithCP = bool | Sequence[int] | Mapping[str, Sequence[str]]
TO = '-'  # between the first and the last segment of a run


class Piece(NamedTuple):
    """Consecutive segments of a block that are run as one.

    Args:
        segments (tuple[Segment, ...]): The segments.
        mode (str, optional): How they are recomputed; None: they keep all.
    """

    segments: tuple[Segment, ...]
    mode: str | None


def pieces_of(block: Block, recomputed: Mapping[str, str]) -> list[Piece]:
    """What a block runs one after the other.

    Args:
        block (Block): The block.
        recomputed (Mapping[str, str]): What :func:`recomputed_parts` gave.
    """
    names, pieces, start = _names(block), [], 0
    runs = dict(_run(name, names) for name in recomputed if TO in name and name.partition(TO)[0] in names)
    while start < len(names):
        stop = runs.get(start, start + 1)
        name = names[start] if start not in runs else f'{names[start]}{TO}{names[stop - 1]}'
        pieces.append(Piece(block.segments[start:stop], recomputed.get(name)))
        start = stop
    return pieces


def _run(name: str, names: Sequence[str]) -> tuple[int, int]:
    first, _, last = name.partition(TO)
    return names.index(first), names.index(last) + 1


def recomputed_parts(with_cp: WithCP, blocks: Sequence[Block]) -> dict[str, str]:
    """Read ``with_cp``.

    Args:
        with_cp (bool | Sequence[int] | Mapping): All, none, or the numbers of blocks, with their auxiliary networks; or
            names by what they keep, as in ``dict(full=['layer1'], selective=['layer2.0', 'local.layer2_0'])``:
            segments, stages for all of their segments, and ``local.<place>`` for the auxiliary network that stands
            there. ``'layer3.1-layer3.3'`` is a run of segments that are recomputed as one: of a full one nothing is
            kept but the input of its first.
        blocks (Sequence[Block]): The blocks.

    Returns:
        dict[str, str]: What is recomputed, by the name of the segment or ``local.<place>``: ``'full'`` keeps the input
        only, ``'selective'`` the results of convolutions and matrix products, too.

    Raises:
        ValueError: If it does not fit the blocks.
    """
    if isinstance(with_cp, Mapping):
        return _by_name(with_cp, blocks)
    numbers = _numbers(with_cp, len(blocks))
    parts = [name for block in blocks if block.index in numbers for name in (*_names(block), _branch(block))]
    return dict.fromkeys(parts, 'full')


def _numbers(with_cp: Any, num_blocks: int) -> frozenset[int]:
    blocks = range(1, num_blocks + 1)
    numbers = {True: blocks, False: ()}[with_cp] if isinstance(with_cp, bool) else with_cp
    # A string is a sequence, and True and 1.0 are equal to 1: the types are asked for.
    fits = isinstance(numbers, (list, tuple, range)) and all(type(i) is int and i in blocks for i in numbers)
    if not fits or len(set(numbers)) < len(numbers):
        raise ValueError(
            f'LocalBackbone.with_cp takes True, False or a list of blocks, each once and from 1 to {num_blocks}, got '
            f"{with_cp!r}; or dict(full=[...], selective=[...]) with segments' names"
        )
    return frozenset(numbers)


def _by_name(with_cp: Mapping[str, Sequence[str]], blocks: Sequence[Block]) -> dict[str, str]:
    known = _known(blocks)
    parts: dict[str, str] = {}
    taken: set[str] = set()
    for mode, names in with_cp.items():
        if mode not in MODES:
            raise ValueError(f'LocalBackbone.with_cp has the keys {", ".join(MODES)}, got {mode!r}')
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise ValueError(f'LocalBackbone.with_cp: {mode} must be a list of names, got {names!r}')
        for name in names:
            run = _segments_of_run(str(name), blocks) if name not in known else []
            if name not in known and not run:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f' (did you mean {near[0]!r}?)' if near else ''
                raise ValueError(
                    f'LocalBackbone.with_cp: {mode} names {name!r}{hint}, which is none of {", ".join(known)}, and no '
                    f"run of segments of one block, as in 'layer3.1{TO}layer3.3'"
                )
            for part in run or known[name]:
                if part in taken:
                    raise ValueError(f'LocalBackbone.with_cp names {part!r} twice')
                taken.add(part)
            parts.update(dict.fromkeys([name] if run else known[name], mode))
    return parts


def _known(blocks: Sequence[Block]) -> dict[str, list[str]]:
    """The parts that each name stands for."""
    known: dict[str, list[str]] = {}
    for block in blocks:
        for segment in block.segments:
            known.setdefault(segment.stage, []).append(segment.name)
    known |= {name: [name] for block in blocks for name in _names(block)}
    return known | {_branch(block): [_branch(block)] for block in blocks[:-1]}


def _segments_of_run(name: str, blocks: Sequence[Block]) -> list[str]:
    """The segments of a run; none if it is no run inside of a block."""
    first, to, last = name.partition(TO)
    for block in blocks:
        names = _names(block)
        if to and first in names and last in names and names.index(first) < names.index(last):
            return names[names.index(first) : names.index(last) + 1]
    return []


def _names(block: Block) -> list[str]:
    return [segment.name for segment in block.segments]


def _branch(block: Block) -> str:
    return f'local.{block.place}'
