"""Says how much memory training takes beside what its plan expected."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmman.registry import HOOKS

ITERATIONS = 10


@HOOKS.register_module()
class PlanHook(Hook):
    """Compares the first ten iterations on a GPU with the plan, and says so in the log.

    What a plan counts are bytes of live tensors; the allocator's peak also has the workspaces of cuDNN and cuBLAS.

    Args:
        peak (int): The most bytes of live tensors that the plan expects.
        smaller (int, optional): That of the next smaller plan; None if there is none.
    """

    # Before the logger, which resets the allocator's peak.
    priority = 'VERY_HIGH'

    def __init__(self, peak: int, smaller: int | None = None) -> None:
        self.peak = peak
        self.smaller = smaller
        self._most = 0
        self._seen = 0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None) -> None:
        """Take the allocator's peak, and say it after ten iterations.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (dict, optional): Not used.
        """
        if self._seen == ITERATIONS or not torch.cuda.is_available():
            return
        self._most = max(self._most, torch.cuda.max_memory_allocated())
        self._seen += 1
        if self._seen == ITERATIONS:
            runner.logger.info(
                f'plan: {ITERATIONS} iterations took at most {_mb(self._most)} on the GPU '
                f'(torch.cuda.max_memory_allocated), {self._most / self.peak:.2f} of the {_mb(self.peak)} of the plan'
            )


def out_of_memory(runner: Runner) -> str:
    """What to do when training runs out of a GPU's memory.

    Args:
        runner (Runner): The runner, with or without a :class:`PlanHook`.

    Returns:
        str: One line.
    """
    free, total = torch.cuda.mem_get_info()
    taken = f'{_mb(torch.cuda.max_memory_allocated())} of its {_mb(total)} held tensors, {_mb(free)} are free'
    config = runner.cfg.filename or 'CONFIG'
    hook = next((hook for hook in runner.hooks if isinstance(hook, PlanHook)), None)
    if hook is None:
        memory, advice = 0.8 * total, 'plan the training for less'
    elif hook.smaller is None:
        return f'out of memory: {taken}. The plan is the smallest: take fewer or smaller images, or --amp'
    else:
        memory, advice = hook.smaller, f'the plan has {_mb(hook.peak)}, the next smaller one {_mb(hook.smaller)}'
    command = f'python tools/plan.py {config} --memory {_mb(memory).replace(" ", "")} --out planned.py'
    return f'out of memory: {taken}; {advice}: {command}'


def _mb(count: float) -> str:
    return f'{count / 1e6:.0f} MB'
