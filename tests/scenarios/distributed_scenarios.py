"""What the tests of data parallel training run on every process."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmman.models import find_local_backbone
from mmman.optim import LocalDistributedDataParallel
from mmman.testing.detection import tiny_batch
from scenarios.contracts import auxiliaries
from scenarios.distributed import STEPS, batches_of, model_of, part_of
from scenarios.training import counted_optim_wrapper, optim_wrapper_for, train

State = dict[str, Tensor]
LR = 2.0**14  # so large that even small gradients change a weight of 1 in single precision


def _wrapped(model: nn.Module) -> LocalDistributedDataParallel:
    return LocalDistributedDataParallel(model, device_ids=[dist.get_rank()])


def train_a_part(task: str, frozen: bool = False, options: dict[str, Any] | None = None) -> list[State]:
    """Train on this process's part of every batch.

    Args:
        task (str): One of ``TASKS``.
        frozen (bool): Whether the first stage is frozen. Defaults to False.
        options (dict, optional): Entries of the ``optim_wrapper`` config.

    Returns:
        list[dict]: The state dict after every step.
    """
    model = model_of(task, frozen)
    if dist.get_rank():
        with torch.no_grad():  # wrapping has to send rank 0's
            for param in model.parameters():
                param.add_(1)
    wrapped = _wrapped(model)
    wrapper = counted_optim_wrapper(wrapped, options or {}, STEPS)
    states = []
    for batch in batches_of(task):
        train(wrapped, wrapper, [part_of(batch, dist.get_rank())])
        states.append(copy.deepcopy(model.state_dict()))
    return states


def train_unfreezing(model: nn.Module, wrap: Callable[[nn.Module], nn.Module], batches: list[dict]) -> list[State]:
    """Train with every second parameter frozen, those of block K's neck and heads included; from step 2 on with all.

    Args:
        model (nn.Module): The model.
        wrap (Callable): What it is wrapped by while they are frozen.
        batches (list[dict]): The batches.

    Returns:
        list[dict]: The state dict after every step.
    """
    frozen = [param for name, param in model.named_parameters() if '.ema.' not in name][::2]
    for param in frozen:
        param.requires_grad_(False)
    wrapped = wrap(model)
    wrapper = optim_wrapper_for(wrapped)
    states = []
    for i, batch in enumerate(batches):
        for param in frozen:
            param.requires_grad_(i >= 2)
        train(wrapped, wrapper, [batch])
        states.append(copy.deepcopy(model.state_dict()))
    return states


def unfreeze(task: str) -> list[State]:
    """:func:`train_unfreezing` on this process's part of every batch."""
    return train_unfreezing(model_of(task), _wrapped, [part_of(batch, dist.get_rank()) for batch in batches_of(task)])


def gradients_of_one_step(task: str, batch: dict, wrap: Callable[[nn.Module], nn.Module] = _wrapped) -> State:
    """The gradients that one step of SGD went by, from what it changed.

    Args:
        task (str): One of ``TASKS``.
        batch (dict): The process's batch.
        wrap (Callable): What the model is wrapped by. Defaults to ``LocalDistributedDataParallel``.

    Returns:
        dict[str, Tensor]: Of every trainable parameter, by name.
    """
    model, generator = model_of(task), torch.Generator().manual_seed(0)
    with torch.no_grad():  # while LB = EMA, s has no gradient
        for auxiliary, _ in auxiliaries(model):
            for param in auxiliary.ema.parameters():
                param.add_(0.1 * torch.randn(param.shape, generator=generator))
    before = {name: param.detach().clone() for name, param in model.named_parameters() if param.requires_grad}
    wrapped = wrap(model)
    train(wrapped, optim_wrapper_for(wrapped, optimizer=dict(type='SGD', lr=LR)), [batch])
    return {name: (value - model.get_parameter(name).detach()) / LR for name, value in before.items()}


def uneven_batch(rank: int) -> dict:
    """A detection batch whose two parts differ in number, size and boxes of their images."""
    return tiny_batch(rank, num_items=((2, 1), (4,))[rank])


def gradients_of_uneven_parts() -> State:
    """:func:`gradients_of_one_step` of the detector on :func:`uneven_batch`."""
    return gradients_of_one_step('detector', uneven_batch(dist.get_rank()))


def gradients_of_parts(task: str) -> State:
    """:func:`gradients_of_one_step` on this process's part of a batch."""
    return gradients_of_one_step(task, part_of(batches_of(task, 1)[0], dist.get_rank()))


def no_box_on_one_process() -> list[State]:
    """Two steps of the detector; process 0 has no box, then process 1 has not."""
    model = model_of('detector')
    wrapped = _wrapped(model)
    wrapper = optim_wrapper_for(wrapped)
    states = []
    for boxes in ((0, 0), (3,)) if dist.get_rank() == 0 else ((2, 1), (0,)):
        train(wrapped, wrapper, [tiny_batch(dist.get_rank(), num_items=boxes)])
        states.append(copy.deepcopy(model.state_dict()))
    return states


def parameters_used_by_some() -> dict[str, float]:
    """One step with weight decay and two more parameters in block 2, both 1: nobody uses one, process 1 the other.

    Returns:
        dict[str, float]: What they are then: ``nobody`` and ``one``.
    """
    model = model_of('classifier')
    head = find_local_backbone(model).local['block2'].head
    head.nobody, head.one = (nn.Parameter(torch.ones(())) for _ in range(2))
    loss = head.loss
    if dist.get_rank() == 1:
        head.loss = lambda *args: dict(loss(*args), loss_of_one=head.one)
    wrapped = _wrapped(model)
    wrapper = optim_wrapper_for(wrapped, optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1))
    train(wrapped, wrapper, [part_of(batches_of('classifier', 1)[0], dist.get_rank())])
    return dict(nobody=head.nobody.item(), one=head.one.item())


# -------------------------------------------------------------------------------------------------------------- traffic


def traffic(task: str, accumulative_counts: int) -> list[list[tuple[str, int]]]:
    """Who sends how much, and who steps, in every step of training.

    Args:
        task (str): One of ``TASKS``.
        accumulative_counts (int): Steps in a window of accumulation.

    Returns:
        list[list[tuple[str, int]]]: For every training step the events in order: ``('blocks', numbers sent)`` by our
        averaging, ``('reducer', numbers sent)`` by DistributedDataParallel, ``('step', block)``.
    """
    events: list[tuple[str, int]] = []
    wrapped = _wrapped(model_of(task))
    all_reduce = dist.all_reduce

    def reducer_sends(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        events.append(('reducer', bucket.buffer().numel()))
        work = all_reduce(bucket.buffer().div_(dist.get_world_size()), async_op=True)
        return work.get_future().then(lambda future: future.value()[0])

    def block_sends(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        events.append(('blocks', tensor.numel()))
        return all_reduce(tensor, *args, **kwargs)

    wrapped.register_comm_hook(None, reducer_sends)
    wrapper = counted_optim_wrapper(wrapped, dict(accumulative_counts=accumulative_counts), STEPS)
    for i, inner in enumerate(wrapper.values(), start=1):
        inner.optimizer.register_step_pre_hook(lambda *args, i=i: events.append(('step', i)))
    steps = []
    with mock.patch.object(dist, 'all_reduce', block_sends):
        for batch in batches_of(task):
            train(wrapped, wrapper, [part_of(batch, dist.get_rank())])
            steps.append(events.copy())
            events.clear()
    return steps


# ------------------------------------------------------------------------------------------------------------- failures


def local_loss_not_finite(accumulative_counts: int) -> dict[str, Any]:
    """Block 2's loss is not finite on process 1 only, in the first of a window's steps; then training goes on.

    Args:
        accumulative_counts (int): Steps in a window of accumulation.

    Returns:
        dict: The ``error``; parameters ``before`` and ``after`` it; ``owners`` of the parameters by name; number of
        ``grads`` left, the ``counts`` of the blocks; and parameters at the ``end`` of as many more steps.
    """
    model = model_of('classifier')
    wrapped = _wrapped(model)
    wrapper = optim_wrapper_for(wrapped, accumulative_counts=accumulative_counts)
    batches = [part_of(batch, dist.get_rank()) for batch in batches_of('classifier', accumulative_counts)]
    head = find_local_backbone(model).local['block2'].head
    loss, calls = head.loss, []

    def broken(*args: Any) -> dict[str, Tensor]:
        calls.append(None)
        factor = math.nan if len(calls) == 1 and dist.get_rank() == 1 else 1
        return {name: value * factor for name, value in loss(*args).items()}

    owners = find_local_backbone(model).block_of_parameters()
    result = dict(owners={name: owners.get(p, 4) for name, p in model.named_parameters()}, before=_parameters(model))
    head.loss = broken
    try:
        train(wrapped, wrapper, batches)
    except FloatingPointError as error:
        result['error'] = str(error)
    head.loss = loss
    result['after'] = _parameters(model)
    result['grads'] = sum(p.grad is not None for p in model.parameters())
    result['counts'] = [inner.inner_count for inner in wrapper.values()]
    train(wrapped, wrapper, batches)
    return {**result, 'end': _parameters(model)}


def overflow_on_one_process() -> list[dict[str, Any]]:
    """float16 with loss scaling; in the second of three steps a gradient of block 2 overflows on process 1.

    Returns:
        list[dict]: After every step the ``scales`` and the ``state`` of the model.
    """
    model = model_of('classifier')
    wrapped = _wrapped(model)
    wrapper = optim_wrapper_for(
        wrapped, type='mmman.CPUAmpOptimWrapper', dtype='float16', loss_scale=dict(init_scale=2.0**10)
    )
    results = []
    for i, batch in enumerate(batches_of('classifier', 3)):
        overflows = i == 1 and dist.get_rank() == 1
        with overflow(model, 2) if overflows else nullcontext():
            train(wrapped, wrapper, [part_of(batch, dist.get_rank())])
        scales = [inner.loss_scaler.get_scale() for inner in wrapper.values()]
        results.append(dict(scales=scales, state=copy.deepcopy(model.state_dict())))
    return results


@contextmanager
def overflow(model: nn.Module, block: int) -> Iterator[None]:
    """Let one gradient of a block be infinite.

    Args:
        model (nn.Module): The model, not wrapped.
        block (int): Number of the block; not the last.
    """
    owners = find_local_backbone(model).block_of_parameters()
    param = next(p for p, owner in owners.items() if owner == block and p.requires_grad)
    handle = param.register_hook(lambda grad: torch.full_like(grad, math.inf))
    try:
        yield
    finally:
        handle.remove()


def _parameters(model: nn.Module) -> State:
    return {name: param.detach().clone() for name, param in model.named_parameters()}
