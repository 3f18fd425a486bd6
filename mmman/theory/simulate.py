"""An event simulation of training on several devices: when does every stage finish every batch?"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from .schedule import Schedule, TimedBlock


@dataclass(frozen=True)
class Timing:
    """What a simulation found; an iteration is one batch on every replica.

    Args:
        ends (tuple[float, ...]): Seconds after which all devices are done with iteration t.
        replicas (int): Batches in an iteration.
        fill (float): Seconds until the last stage has its first batch.
        utilisation (tuple[float, ...]): Part of the time in which each stage's devices compute, in the second half.
        waiting (int): The most outputs that were under way between two stages at once.
        staleness (int): By how many steps the weights that an EMA follows are older than in one process.
    """

    ends: tuple[float, ...]
    replicas: int
    fill: float
    utilisation: tuple[float, ...]
    waiting: int
    staleness: int

    @property
    def seconds_per_iteration(self) -> float:
        """In the second half, where the pipeline is filled."""
        half = len(self.ends) // 2
        return (self.ends[-1] - self.ends[half - 1]) / (len(self.ends) - half)

    @property
    def seconds_per_batch(self) -> float:
        """The same by batches: with R replicas R of them pass in an iteration."""
        return self.seconds_per_iteration / self.replicas

    def seconds(self, batches: int) -> float:
        """Time for so many batches, filling and emptying of the pipeline included: an epoch, say.

        Args:
            batches (int): Batches of one device; the replicas share them. Beyond what was simulated it goes on
                steadily.
        """
        iterations = -(-batches // self.replicas)
        if iterations <= len(self.ends):
            return self.ends[iterations - 1]
        return self.ends[-1] + (iterations - len(self.ends)) * self.seconds_per_iteration


def simulate(schedule: Schedule, iterations: int = 200) -> Timing:
    """Follow every batch through every stage.

    A stage takes a batch when it is there and the one before is done. Block by block it computes forward, backward and
    step. After the last block's forward the output goes to the next stage; sending overlaps with the sender's
    computing, and messages in one direction follow each other. At last the stage waits for weights of the next one, and
    sends its own back. With replicas a block's gradients are averaged, one block at a time, while the next block
    computes, and its step waits for both; the last block averages during its own backward where there is one stage
    (DistributedDataParallel does), behind it in a pipeline.

    Args:
        schedule (Schedule): What is to be simulated.
        iterations (int): How many batches per replica. Defaults to 200.

    Returns:
        Timing: When they are done.

    Raises:
        ValueError: If there are fewer than 2 iterations.
    """
    if iterations < 2:
        raise ValueError(f'a steady state takes at least 2 iterations, got {iterations}')
    rng = np.random.default_rng(schedule.seed)
    stages = [_Stage(blocks, schedule) for blocks in schedule.stages]
    ends = []
    for t in range(iterations):
        for before, stage, after in zip([None, *stages], stages, [*stages[1:], None], strict=False):
            stage.train(t, before, after, rng)
        ends.append(max(max(stage.free) for stage in stages))

    half = iterations // 2
    window = (ends[-1] - ends[half - 1]) * schedule.replicas
    return Timing(
        ends=tuple(ends),
        replicas=schedule.replicas,
        fill=max(taken[0] for taken in stages[-1].taken),
        utilisation=tuple(sum(stage.busy[half:]) / window for stage in stages),
        waiting=max((_most_waiting(a, b) for a, b in zip(stages, stages[1:], strict=False)), default=0),
        staleness=schedule.delay or 0 if len(stages) > 1 else 0,
    )


class _Stage:
    """One stage on all replicas: what its devices and its incoming links are busy with.

    Args:
        blocks (tuple[TimedBlock, ...]): The blocks of the stage.
        schedule (Schedule): The rest.
    """

    def __init__(self, blocks: tuple[TimedBlock, ...], schedule: Schedule) -> None:
        self.blocks, self.schedule = blocks, schedule
        replicas = range(schedule.replicas)
        self.free = [0.0 for _ in replicas]  # when the device is done with all so far
        self.taken: list[list[float]] = [[] for _ in replicas]  # when it began batch t
        self.sent: list[list[float]] = [[] for _ in replicas]  # when it handed the output of batch t on
        self.weights: list[list[float]] = [[] for _ in replicas]  # when it sent its weights of step t back
        self.busy: list[float] = []  # seconds of computing in batch t, of all replicas
        self._input_link = [0.0 for _ in replicas]
        self._weights_link = [0.0 for _ in replicas]
        self._averaging_until = 0.0

    def train(self, t: int, before: '_Stage | None', after: '_Stage | None', rng: np.random.Generator) -> None:
        """Train on batch t.

        Args:
            t (int): Number of the batch.
            before (_Stage, optional): The stage that hands it on. The data loader of the first is never late.
            after (_Stage, optional): The next stage.
            rng (np.random.Generator): Source of the jitter.
        """
        schedule, replicas = self.schedule, range(self.schedule.replicas)
        now = list(self.free)
        if before is not None:
            size = before.blocks[-1].output_bytes
            now = [self._receive(self._input_link, r, before.sent[r][t], now[r], size) for r in replicas]
        for r in replicas:
            self.taken[r].append(now[r])
        now = self._compute(now, t, after, rng)
        if after is not None and schedule.delay is not None and t > schedule.delay:
            size, step = after.blocks[0].source_bytes, t - 1 - schedule.delay
            now = [self._receive(self._weights_link, r, after.weights[r][step], now[r], size) for r in replicas]
        for r in replicas:
            self.weights[r].append(now[r])
        self.free = now

    def _compute(self, now: list[float], t: int, after: '_Stage | None', rng: np.random.Generator) -> list[float]:
        """Let all blocks learn; returns when they have."""
        schedule, replicas = self.schedule, range(self.schedule.replicas)
        factors = _jitter(rng, schedule.jitter, (len(self.blocks), schedule.replicas))
        self.busy.append(float(sum(b.seconds * f.sum() for b, f in zip(self.blocks, factors, strict=True))))
        averaged = 0.0  # when the gradients of the block before are averaged
        for i, (block, factor) in enumerate(zip(self.blocks, factors, strict=True)):
            seconds = [block.seconds * float(factor[r]) for r in replicas]
            forward = [now[r] + schedule.forward_fraction * seconds[r] for r in replicas]
            if after is not None and i == len(self.blocks) - 1:
                forward = [self._send(t, r, forward[r], after) for r in replicas]
            backward = [forward[r] + (1 - schedule.forward_fraction) * seconds[r] for r in replicas]
            now = [max(b, averaged) for b in backward]
            if schedule.replicas > 1:
                averaged = self._average(block, forward, backward, i)
        return [max(n, averaged) for n in now]

    def _receive(self, link_free: list[float], r: int, sent: float, ready: float, size: float) -> float:
        """When the next message of a link is here, for a device that is ready for it."""
        link = self.schedule.link
        start = max(sent, link_free[r]) if self.schedule.prefetch else max(sent, link_free[r], ready)
        link_free[r] = start + link.occupied(size)
        return max(ready, link_free[r] + link.latency)

    def _send(self, t: int, r: int, forward: float, after: '_Stage') -> float:
        """Hand the output of batch t on; returns when, which is later than it is there while the queue is full."""
        queue = self.schedule.queue
        if queue is not None and t >= queue:
            forward = max(forward, after.taken[r][t - queue])
        self.sent[r].append(forward)
        return forward

    def _average(self, block: TimedBlock, forward: list[float], backward: list[float], i: int) -> float:
        """Average a block's gradients over the replicas, after those of the block before; returns when it is done."""
        own_backward = len(self.schedule.stages) == 1 and i == len(self.blocks) - 1
        start = max(self._averaging_until, *(forward if own_backward else backward))
        seconds = self.schedule.link.all_reduce(block.gradient_bytes, self.schedule.replicas)
        self._averaging_until = max(start + seconds, *backward)
        return self._averaging_until


def _jitter(rng: np.random.Generator, sigma: float, shape: tuple[int, int]) -> np.ndarray:
    """Log-normal factors of mean 1."""
    return np.exp(sigma * rng.standard_normal(shape) - sigma**2 / 2)


def _most_waiting(stage: _Stage, after: _Stage) -> int:
    """The most outputs that one replica has handed on and the next stage has not taken."""
    return max(
        t + 1 - bisect_right(taken, moment)
        for sent, taken in zip(stage.sent, after.taken, strict=True)
        for t, moment in enumerate(sent)
    )
