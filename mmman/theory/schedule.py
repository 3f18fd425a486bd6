"""Who computes and sends what, when several devices train: the input of the time simulator."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class TimedBlock:
    """What one block costs a device in one batch. A model that is trained end to end is one block.

    Args:
        seconds (float): Forward, backward and step, with the block's auxiliary and its local head.
        gradient_bytes (float): Its gradients, those of auxiliary and local head included.
        output_bytes (float): Its detached output and what travels along (targets; images for InfoPro).
        source_bytes (float): Weights of its first segment, which travel back to the block before it for the EMA.

    Raises:
        ValueError: If a number is negative or not finite, or ``seconds`` is 0.
    """

    seconds: float
    gradient_bytes: float = 0
    output_bytes: float = 0
    source_bytes: float = 0

    def __post_init__(self) -> None:
        wrong = {f.name: getattr(self, f.name) for f in fields(self) if not 0 <= getattr(self, f.name) < math.inf}
        if wrong or not self.seconds:
            raise ValueError(f'a block takes positive seconds and bytes of at least 0, got {wrong or "seconds=0"}')


@dataclass(frozen=True)
class Link:
    """The connection between any two devices, the same both ways; its traffic does not disturb the computing.

    Args:
        bytes_per_second (float): Defaults to infinity.
        latency (float): Seconds until the first byte arrives. Defaults to 0.

    Raises:
        ValueError: If the speed is not positive or the latency is negative or not finite.
    """

    bytes_per_second: float = math.inf
    latency: float = 0

    def __post_init__(self) -> None:
        if not self.bytes_per_second > 0 or not 0 <= self.latency < math.inf:
            raise ValueError(f'a link takes a positive speed and a latency of at least 0, got {self}')

    def occupied(self, num_bytes: float) -> float:
        """Seconds for which a message keeps the next one in the same direction waiting."""
        return num_bytes / self.bytes_per_second

    def all_reduce(self, num_bytes: float, devices: int) -> float:
        """Seconds of a ring all-reduce: every device sends 2 (N-1) pieces of one N-th."""
        steps = 2 * (devices - 1)
        return steps * (num_bytes / devices / self.bytes_per_second + self.latency)


@dataclass(frozen=True)
class Schedule:
    """Blocks on devices: ``stages`` in a row, each with one device per replica.

    One stage and one replica is one process, one stage with replicas data parallel training, one replica a pipeline.

    Args:
        stages (tuple[tuple[TimedBlock, ...], ...]): The blocks of each stage, in the order of the network.
        replicas (int): Pipelines side by side, whose gradients are averaged stage by stage. Defaults to 1.
        link (Link): Defaults to one that costs nothing.
        forward_fraction (float): The part of a block's seconds after which its output is there. Defaults to 1/3.
        delay (int, optional): A stage waits, before it goes on to the next batch, for the weights its EMA follows:
            those the next stage has after step t - 1 - ``delay``. 0 gives the results of one process. None: no such
            messages, as without an EMA. Defaults to 0.
        queue (int, optional): Outputs that may wait between two stages. The stage blocks when it has one more.
            Defaults to None, no limit; with a delay d no more than d + 2 ever wait.
        prefetch (bool): Whether messages travel while the receiver computes. Defaults to False, as where the receiver
            asks for a message when it needs it: neither gloo nor NCCL moves it before. What that costs is then a part
            of the receiver's time.
        jitter (float): Sigma of a log-normal factor of mean 1 on the seconds of every block in every batch on every
            device. Defaults to 0.
        seed (int): Of the jitter. Defaults to 0.

    Raises:
        ValueError: If one of them is out of range.
    """

    stages: tuple[tuple[TimedBlock, ...], ...]
    replicas: int = 1
    link: Link = Link()
    forward_fraction: float = 1 / 3
    delay: int | None = 0
    queue: int | None = None
    prefetch: bool = False
    jitter: float = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.stages or not all(self.stages):
            raise ValueError(f'every stage takes at least one block, got {[len(s) for s in self.stages]} blocks')
        if not 0 <= self.forward_fraction <= 1:
            raise ValueError(f'forward_fraction lies in [0, 1], got {self.forward_fraction}')
        for name, least in (('replicas', 1), ('delay', 0), ('queue', 1), ('jitter', 0)):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ValueError(f'{name} is at least {least}, got {value}')

    @property
    def devices(self) -> int:
        """How many devices it takes."""
        return len(self.stages) * self.replicas

    @property
    def ideal_speedup(self) -> float:
        """Sum over largest stage, times the replicas: against one device, with nothing lost but imbalance."""
        seconds = [sum(block.seconds for block in stage) for stage in self.stages]
        return sum(seconds) / max(seconds) * self.replicas


def group(blocks: Sequence[TimedBlock], num_stages: int) -> tuple[tuple[TimedBlock, ...], ...]:
    """Cut a row of blocks into stages so that the slowest stage is as fast as can be.

    Args:
        blocks (Sequence[TimedBlock]): In the order of the network.
        num_stages (int): Number of stages.

    Returns:
        tuple[tuple[TimedBlock, ...], ...]: The blocks of each stage.

    Raises:
        ValueError: If there are fewer blocks than stages.
    """
    if not 1 <= num_stages <= len(blocks):
        raise ValueError(f'{len(blocks)} blocks cannot be cut into {num_stages} stages')

    @cache
    def best(end: int, stages: int) -> tuple[float, tuple[int, ...]]:
        """Seconds of the slowest of the stages that hold the first ``end`` blocks, and where the stages begin."""
        if stages == 1:
            return sum(block.seconds for block in blocks[:end]), (0,)
        return min(
            (
                max(best(cut, stages - 1)[0], sum(block.seconds for block in blocks[cut:end])),
                best(cut, stages - 1)[1] + (cut,),
            )
            for cut in range(stages - 1, end)
        )

    starts = best(len(blocks), num_stages)[1]
    return tuple(tuple(blocks[a:b]) for a, b in zip(starts, starts[1:] + (len(blocks),), strict=True))


def read_blocks(path: str | Path) -> tuple[list[TimedBlock], TimedBlock | None]:
    """Read measured costs from a JSON file.

    ``{"blocks": [{"seconds": 0.8, "gradient_bytes": 4e6, "output_bytes": 1e6, "source_bytes": 3e5}, ...],
    "end_to_end": {"seconds": 2.9, "gradient_bytes": 9e7}}``, whose keys are the arguments of :class:`TimedBlock`;
    ``end_to_end`` may be missing, and all keys but ``seconds``.

    Args:
        path (str | Path): The file.

    Returns:
        tuple[list[TimedBlock], TimedBlock | None]: The blocks, and the model as trained end to end.

    Raises:
        ValueError: If a key is unknown or missing, or a value is not a number.
    """
    content = json.loads(Path(path).read_text())
    known = {field.name for field in fields(TimedBlock)}
    if not isinstance(content, dict) or not {'blocks'} <= set(content) <= {'blocks', 'end_to_end'}:
        raise ValueError(f'{path} takes "blocks" and may take "end_to_end", got {list(content)}')

    def block(costs: dict[str, float]) -> TimedBlock:
        if not {'seconds'} <= set(costs) <= known or not all(isinstance(v, (int, float)) for v in costs.values()):
            raise ValueError(f'{path}: a block takes the number "seconds" and may take {sorted(known)}, got {costs}')
        return TimedBlock(**costs)

    end_to_end = content.get('end_to_end')
    return [block(costs) for costs in content['blocks']], None if end_to_end is None else block(end_to_end)
