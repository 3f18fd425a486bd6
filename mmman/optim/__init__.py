"""Optimizers: who steps when, on one process or several."""

from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper
from .data_parallel import LocalDistributedDataParallel
from .optim_wrapper import LocalOptimWrapper
from .optim_wrapper_constructor import LocalOptimWrapperConstructor

__all__ = ['CPUAmpOptimWrapper', 'LocalDistributedDataParallel', 'LocalOptimWrapper', 'LocalOptimWrapperConstructor']
