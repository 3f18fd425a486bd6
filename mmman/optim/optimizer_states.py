"""Saved states of the blocks' optimizers, and whether they belong to the blocks that are here."""

from typing import Any

from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.optim import Optimizer

ADVICE = 'resume with the same partition and frozen stages, or use load_from to start a new run from the weights'


def with_segments(states: dict[str, dict], segments: dict[str, str]) -> dict[str, dict]:
    """Add to the states of the blocks' optimizers what the blocks consist of.

    Args:
        states (dict[str, dict]): By block, the state of its optimizer wrapper.
        segments (dict[str, str]): By block, what it consists of.
    """
    return {name: {**state, **_entry(segments.get(name))} for name, state in states.items()}


def _entry(segments: str | None) -> dict[str, str]:
    return {} if segments is None else {'segments': segments}


def states_that_fit(
    states: dict[str, dict], wrappers: dict[str, OptimWrapper], segments: dict[str, str]
) -> dict[str, dict]:
    """Refuse states of other blocks; torch itself only counts the parameters.

    Args:
        states (dict[str, dict]): What :func:`with_segments` gave when they were saved. (States saved up to version 0.1
            do not say to which segments they belong; of them numbers and shapes are compared.)
        wrappers (dict[str, OptimWrapper]): The blocks' optimizer wrappers.
        segments (dict[str, str]): By block, what it consists of.

    Returns:
        dict[str, dict]: The states as the optimizer wrappers load them.

    Raises:
        ValueError: If they are the states of another number of blocks, of other blocks, or of other parameters.
    """
    if set(states) != set(wrappers):
        raise ValueError(
            f'the optimizer state to resume from belongs to {sorted(states)[:8]}, but this model has the blocks '
            f'{list(wrappers)}: {ADVICE}'
        )
    for name, state in states.items():
        saved, here = state.get('segments'), segments.get(name)
        if saved and here and saved != here:
            raise ValueError(f'the optimizer state to resume from is that of {saved}, not of {here}: {ADVICE}')
        problem = _mismatch(wrappers[name].optimizer, state)
        if problem:
            raise ValueError(f'the optimizer state to resume from does not fit {here or name}: {problem}. {ADVICE}')
    return {name: {k: v for k, v in state.items() if k != 'segments'} for name, state in states.items()}


def entries_like_parameters(state: dict[str, Any]) -> set[str]:
    """Names of what an optimizer's state keeps with dimensions: moments, but no numbers of steps.

    Args:
        state (dict): The state of one optimizer.
    """
    return {
        name
        for values in state['state'].values()
        for name, value in values.items()
        if isinstance(value, Tensor) and value.dim()
    }


def _mismatch(optimizer: Optimizer, state: dict[str, Any]) -> str | None:
    saved_groups, groups = state['param_groups'], optimizer.param_groups
    saved, here = ([len(group['params']) for group in each] for each in (saved_groups, groups))
    if saved != here:
        return f'it has {_counted(saved)}, the model has {_counted(here)}'
    of_parameters = entries_like_parameters(state)
    for saved_group, group in zip(saved_groups, groups, strict=True):
        for number, param in zip(saved_group['params'], group['params'], strict=True):
            for name, value in state['state'].get(number, {}).items():
                if not isinstance(value, Tensor):
                    continue
                if name in of_parameters and value.ndim < param.ndim == 1:
                    return (
                        f'its {name} of a scale s has no dimension, as version 0.1 saved it. Upgrade the checkpoint by '
                        'tools/model_converters/upgrade_checkpoint.py'
                    )
                if not _fits(value, param):
                    return f'its {name} has the shape {tuple(value.shape)} for a parameter of {tuple(param.shape)}'
    return None


def _counted(lengths: list[int]) -> str:
    return f'{sum(lengths)} parameters in {len(lengths)} groups'


def _fits(value: Tensor, param: Tensor) -> bool:
    # The number of steps has no dimensions. Factored moments (Adafactor) have fewer, or some of length 1.
    return value.ndim != param.ndim or all(a in (1, b) for a, b in zip(value.shape, param.shape, strict=True))
