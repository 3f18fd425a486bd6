"""Data parallel training in blocks."""

from typing import Any

import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmman.models import find_local_backbone
from mmman.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class LocalDistributedDataParallel(MMDistributedDataParallel):
    """Averages every block's gradients over the processes before the block's own step (contract 6).

    Torch's DistributedDataParallel, which this is for block K and all that lies behind the backbone, averages in the
    one backward pass that its forward has announced. The blocks before learn inside of that forward: their gradients
    are averaged apart, block by block, and each step waits until the next block has done its own backward, so that
    sending and computing overlap. Every gradient is sent once.

    Torch's reducer knows the parameters that are trainable when the model is wrapped. What a hook unfreezes later in
    block K and behind it is averaged apart, too.

    Buffers are handled as DistributedDataParallel handles them: with ``broadcast_buffers`` rank 0's are sent before
    every forward, else every process keeps its own. Checkpoints hold rank 0's.

    Args:
        module (nn.Module): A model with a :class:`mmman.models.LocalBackbone`.
        broadcast_buffers (bool): See above. Defaults to False, as mmengine's runner has it.
        **kwargs: Other arguments of ``mmengine.model.MMDistributedDataParallel``. ``find_unused_parameters`` belongs
            here too: mmengine's runner reads the config's own entry of that name only where there is no
            ``model_wrapper_cfg``.
    """

    def __init__(self, module: nn.Module, broadcast_buffers: bool = False, **kwargs: Any) -> None:
        owners = find_local_backbone(module).local.block_of_parameters()
        local = [name for name, param in module.named_parameters() if param in owners]
        self._set_params_and_buffers_to_ignore_for_model(module, local)
        if all(param.device.type == 'cpu' for param in module.parameters()):
            kwargs.pop('device_ids', None)  # mmengine's runner always names one
        super().__init__(module, broadcast_buffers=broadcast_buffers, **kwargs)
        # As the reducer, which was built in the line above, chose its own.
        self._not_in_reducer = [p for p in module.parameters() if p not in owners and not p.requires_grad]
        for param in owners:
            dist.broadcast(param.data, src=0, group=self.process_group)

    def unreduced_parameters(self) -> list[nn.Parameter]:
        """The trainable parameters of block K, and behind it, that were frozen when the model was wrapped."""
        return [param for param in self._not_in_reducer if param.requires_grad]
