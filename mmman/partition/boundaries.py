"""Where the blocks end: by stage, evenly over units, or at explicit segments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .segments import Segment

WAYS = ('stage', 'unit')


@dataclass(frozen=True)
class Block:
    """Consecutive segments that share one loss.

    Args:
        index (int): 1-based number of the block; the last one, K, learns from the model's own loss.
        segments (tuple[Segment, ...]): Its segments, in the order of the forward pass.
    """

    index: int
    segments: tuple[Segment, ...]

    @property
    def name(self) -> str:
        """Its name among the optimizers: ``'block1'``."""
        return f'block{self.index}'

    @property
    def place(self) -> str:
        """Where its branch stands, as the name of a module: ``'layer1_2'`` for the segment ``layer1.2``."""
        return self.segments[-1].name.replace('.', '_')

    def __str__(self) -> str:
        first, last = self.segments[0].name, self.segments[-1].name
        return f'block {self.index} ({first if first == last else f"{first} to {last}"})'


def make_blocks(
    segments: Sequence[Segment],
    num_blocks: int | None = None,
    by: str = 'stage',
    ends: Sequence[str] | None = None,
) -> list[Block]:
    """Group segments into K blocks.

    Args:
        segments (Sequence[Segment]): All segments of the backbone, in order.
        num_blocks (int, optional): K, every gradient-isolated block counted. Where ``ends`` are given it follows from
            them.
        by (str): What is shared out evenly among the blocks, the first blocks taking what is left over: ``'stage'``
            (the stem belongs to the first stage) or ``'unit'`` (segments: the stem and every unit). Defaults to
            ``'stage'``.
        ends (Sequence[str], optional): The last segment of each of the first K-1 blocks, as a segment's name
            (``'layer3.5'``) or a stage's (``'layer3'``: its last segment).

    Returns:
        list[Block]: The K blocks.

    Raises:
        ValueError: If K, ``by`` or a boundary does not fit the backbone; the text names what would.
    """
    if ends is not None:
        if isinstance(ends, str):
            raise ValueError(f'partition.ends must be a list of segment names, got the string {ends!r}')
        if num_blocks is not None and num_blocks != len(ends) + 1:
            raise ValueError(
                f'partition.num_blocks={num_blocks} contradicts the {len(ends)} ends {list(ends)}, which make '
                f'{len(ends) + 1} blocks: leave num_blocks out'
            )
        last = _explicit_ends(segments, ends)
    else:
        if by not in WAYS:
            raise ValueError(f'partition.by must be one of {WAYS}, got {by!r}')
        if not isinstance(num_blocks, int) or isinstance(num_blocks, bool) or num_blocks < 1:
            raise ValueError(f'partition.num_blocks must be a positive integer, got {num_blocks!r}')
        last = _even_ends(segments, num_blocks, by)
    starts = [0, *(end + 1 for end in last)]
    stops = [*(end + 1 for end in last), len(segments)]
    return [
        Block(i, tuple(segments[start:stop]))
        for i, (start, stop) in enumerate(zip(starts, stops, strict=True), start=1)
    ]


def merge_frozen(blocks: Sequence[Block], trainable: Callable[[Segment], bool]) -> list[Block]:
    """Join blocks that have nothing to train to the block that follows them.

    Args:
        blocks (Sequence[Block]): The blocks as asked for.
        trainable (Callable): Whether a segment has a parameter that requires a gradient.

    Returns:
        list[Block]: The blocks with something to train, renumbered from 1. The last block always stays: behind it come
        the neck and the heads.
    """
    merged, pending = [], ()
    for block in blocks:
        pending += block.segments
        if block is blocks[-1] or any(trainable(segment) for segment in block.segments):
            merged.append(Block(len(merged) + 1, pending))
            pending = ()
    return merged


def _even_ends(segments: Sequence[Segment], num_blocks: int, by: str) -> list[int]:
    if by == 'stage':
        parts = [i for i, s in enumerate(segments) if i + 1 == len(segments) or segments[i + 1].stage != s.stage]
    else:
        parts = list(range(len(segments)))
    if num_blocks > len(parts):
        advice = f"; by='unit' allows up to {len(segments)}" if by == 'stage' and num_blocks <= len(segments) else ''
        raise ValueError(
            f'partition.num_blocks={num_blocks}, but the backbone has {len(parts)} {by}s to share out{advice}'
        )
    size, surplus = divmod(len(parts), num_blocks)
    counts = [size + (i < surplus) for i in range(num_blocks)]
    return [parts[sum(counts[: i + 1]) - 1] for i in range(num_blocks - 1)]


def _explicit_ends(segments: Sequence[Segment], ends: Sequence[str]) -> list[int]:
    position = {s.stage: i for i, s in enumerate(segments)} | {s.name: i for i, s in enumerate(segments)}
    for end in ends:
        if end not in position:
            raise ValueError(f'partition.ends names {end!r}, which is none of the segments: {", ".join(position)}')
    last = [position[end] for end in ends]
    if any(a >= b for a, b in zip(last, last[1:], strict=False)):
        raise ValueError(f'partition.ends must follow the order of the forward pass without repeats, got {list(ends)}')
    if last and last[-1] == len(segments) - 1:
        raise ValueError(
            f'partition.ends names {ends[-1]!r}, the end of the backbone: the last block ends there by itself, drop it'
        )
    return last
