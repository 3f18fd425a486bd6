"""The state of all random number generators of a process."""

import random
from typing import Any

import numpy as np
import torch


def rng_state() -> dict[str, Any]:
    """Read Python's, numpy's and torch's global generators and, where there is a GPU, that of the current device.

    Returns:
        dict: The states, for :func:`restore_rng`.
    """
    state = dict(python=random.getstate(), numpy=np.random.get_state(), torch=torch.get_rng_state())
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Set the generators to what they were.

    Args:
        state (dict): What :func:`rng_state` gave, on a machine with or without a GPU.
    """
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    # Resuming maps a checkpoint's tensors to the GPU; states are set from the CPU.
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
