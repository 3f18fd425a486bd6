"""A batch's randomness belongs to the batch, not to the worker process that happens to load it."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler, get_worker_info


class NumberedBatch(list):
    """The indices of a batch; its ``number`` travels with them to the worker process that loads the batch."""

    def __init__(self, indices: Iterable[Any], number: int) -> None:
        super().__init__(indices)
        self.number = number

    def __reduce__(self) -> tuple:
        return type(self), (list(self), self.number)


class NumberedBatchSampler(Sampler):
    """Numbers the batches of a batch sampler, from one epoch to the next, and can leave out the first ones.

    All else it hands on to the batch sampler.

    Args:
        batch_sampler (Iterable[list]): What gives the batches' indices.
    """

    def __init__(self, batch_sampler: Iterable[list]) -> None:
        self._batches = batch_sampler
        self._number = 0
        self._left_out = 0

    def number_from(self, number: int) -> None:
        """Give the next batch this number."""
        self._number = number

    def leave_out(self, count: int) -> None:
        """Begin the next iteration behind so many batches; nothing of theirs is loaded, and they are not counted."""
        self._left_out = count

    def __iter__(self) -> Iterator[NumberedBatch]:
        first, self._left_out = self._left_out, 0
        for indices in islice(self._batches, first, None):
            batch = NumberedBatch(indices, self._number)
            self._number += 1
            yield batch

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        if name == '_batches':  # not there yet, while it is copied
            raise AttributeError(name)
        return getattr(self._batches, name)


class SeededWorker:
    """A ``worker_init_fn``: in the worker process, every batch is loaded from a seed of its own.

    Python's, numpy's and torch's generators are seeded from the run's seed, the rank and the batch's number.

    Args:
        seed (int): The run's seed.
        rank (int): The rank of the process that trains.
        init_fn (Callable, optional): The ``worker_init_fn`` that was there; it is called first.
    """

    def __init__(self, seed: int, rank: int, init_fn: Callable[[int], None] | None) -> None:
        self.seed = seed
        self.rank = rank
        self.init_fn = init_fn

    def __call__(self, worker_id: int) -> None:
        """Prepare a worker process.

        Args:
            worker_id (int): The number of the worker.
        """
        if self.init_fn is not None:
            self.init_fn(worker_id)
        dataset = get_worker_info().dataset  # this process's own copy
        load = getattr(dataset, '__getitems__', None) or (lambda indices: [dataset[index] for index in indices])

        def load_seeded(batch: NumberedBatch) -> list:
            seed_generators(self.seed, self.rank, batch.number)
            return load(batch)

        # torch asks the object, not its class, for a way to load a whole batch.
        dataset.__getitems__ = load_seeded


def seed_generators(*entropy: int) -> None:
    """Seed Python's, numpy's and torch's global generators from some whole numbers, none of them negative."""
    words = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)
    torch.manual_seed(int.from_bytes(words[:2].tobytes(), 'little'))


def can_number(loader: DataLoader) -> bool:
    """Whether a loader has batches that can be numbered: those of a map-style dataset."""
    return loader.batch_sampler is not None and not isinstance(loader.dataset, IterableDataset)


def number_batches(loader: DataLoader) -> NumberedBatchSampler:
    """Let a loader's batches be numbered, if they are not yet.

    Args:
        loader (DataLoader): A loader that :func:`can_number` accepts.

    Returns:
        NumberedBatchSampler: What numbers them.
    """
    if not isinstance(loader.batch_sampler, NumberedBatchSampler):
        # torch's guard is against a batch sampler at odds with batch_size and drop_last; this one gives the same.
        object.__setattr__(loader, 'batch_sampler', NumberedBatchSampler(loader.batch_sampler))
    return loader.batch_sampler


def seed_batches(loader: DataLoader, seed: int, rank: int) -> None:
    """Let a loader's workers load every batch from a seed of its own, if they do not yet.

    Args:
        loader (DataLoader): A loader that :func:`can_number` accepts, with workers that are not running yet.
        seed (int): The run's seed.
        rank (int): The rank of this process.
    """
    if not is_seeded(loader):
        number_batches(loader)
        loader.worker_init_fn = SeededWorker(seed, rank, loader.worker_init_fn)


def is_seeded(loader: DataLoader) -> bool:
    """Whether :func:`seed_batches` was here."""
    return isinstance(loader.worker_init_fn, SeededWorker)
