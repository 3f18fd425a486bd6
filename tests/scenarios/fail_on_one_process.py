"""A training that fails on process 1 while process 0 waits for it; to be started by torchrun.

Its argument is the type of the model's wrapper.
"""

import sys

import torch
import torch.distributed as dist
from mmengine.registry import MODEL_WRAPPERS, init_default_scope

import mmman.classification  # noqa: F401
from mmman.models import find_local_backbone
from mmman.pipeline import PipelineParallel
from scenarios.distributed import batches_of, model_of, part_of
from scenarios.training import optim_wrapper_for, train

MESSAGE = 'process 1 cannot go on'


def main() -> None:
    """Train; in the second step block 3's local head raises on process 1."""
    torch.set_num_threads(1)
    init_default_scope('mmpretrain')
    dist.init_process_group('gloo')
    model = model_of('classifier')
    wrapped = MODEL_WRAPPERS.build(dict(type=sys.argv[1], module=model))
    wrapper = optim_wrapper_for(wrapped)
    if isinstance(wrapped, PipelineParallel):
        wrapped.take_own_part(wrapper)
    head = find_local_backbone(model).local['block3'].head

    def fail(*args: object) -> None:
        raise RuntimeError(MESSAGE)

    for step, batch in enumerate(batches_of('classifier')):
        if step == 1 and dist.get_rank() == 1:
            head.loss = fail
        train(wrapped, wrapper, [part_of(batch, dist.get_rank())])
        print(f'process {dist.get_rank()} did step {step}', flush=True)


if __name__ == '__main__':
    main()
