"""Training in blocks on several devices, without pipeline bubbles (the paper's PPLL)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch.distributed as dist
from mmengine.model import revert_sync_batchnorm
from mmengine.utils import apply_to
from torch import Tensor, nn

from mmman.models import LocalLearning, LocalStep, find_local_backbone
from mmman.optim import LocalOptimWrapper
from mmman.partition import Block, State, detached
from mmman.registry import MODEL_WRAPPERS

from .channel import Channel
from .mesh import Mesh, as_world, default_stages, share_blocks
from .placement import Placement


@MODEL_WRAPPERS.register_module()
class PipelineParallel(nn.Module):
    """Gives every process some of the blocks: it trains them, and hands their detached output on to the next process.

    No block waits for a gradient from above. While a stage is at batch t, the next one is at batch t - 1; a stage
    hands its output on as soon as its forward is done, before its own backward. What travels back is small: the weights
    of a block's first segment, for the EMA of the block before, and the losses, for the log.

    With ``delay=0`` nothing is computed from older weights than on one process: the result is the same, to the last bit
    (of models that draw no random numbers and whose batches are the same). A stage then waits, at the end of its step
    on batch t, until the next one has finished batch t - 1, which it has if the stages take equal time.

    More processes than stages make several pipelines: each sees its part of the data, and gradients are averaged over
    them. Needs one of the pipeline's loops, ``mmman.PipelineIterBasedTrainLoop`` or
    ``mmman.PipelineEpochBasedTrainLoop``, and ``mmman.PipelineCheckpointHook``.

    Args:
        module (nn.Module): A model with a :class:`mmman.models.LocalBackbone` of K > 1 blocks, the same on every
            process.
        num_stages (int, optional): Processes of one pipeline. Defaults to the largest divisor of the number of
            processes that is at most K.
        blocks_per_stage (Sequence[int], optional): How many blocks each stage trains. Defaults to the most even
            numbers.
        delay (int): How many batches later than on one process a stage may learn of the next one's weights. It may be
            1 + delay batches ahead; more absorb differences between batches. Defaults to 0.
        ema_interval (int): Weights are sent back after every ``ema_interval``-th step; in between, EMA follows the last
            ones it has. Defaults to 1, every step.

    Raises:
        ValueError: If an argument does not fit the model or the processes.
    """

    def __init__(
        self,
        module: nn.Module,
        num_stages: int | None = None,
        blocks_per_stage: Sequence[int] | None = None,
        delay: int = 0,
        ema_interval: int = 1,
    ) -> None:
        super().__init__()
        if delay < 0 or ema_interval < 1:
            raise ValueError(f'PipelineParallel needs delay >= 0 and ema_interval >= 1, got {delay} and {ema_interval}')
        self.module = module
        self.backbone_blocks = find_local_backbone(module).local.blocks
        if num_stages is None:
            num_stages = default_stages(len(self.backbone_blocks), dist.get_world_size())
        shares = share_blocks(len(self.backbone_blocks), num_stages, blocks_per_stage)
        self.mesh = Mesh.of_all_processes(num_stages)
        if self.mesh.replicas == 1:
            # Nobody else sees batches of these blocks. As mmengine does on one process: torch has SyncBN for GPUs only.
            revert_sync_batchnorm(module)
        self.delay = delay
        self.ema_interval = ema_interval
        self.blocks = [block for block in self.backbone_blocks if block.index in shares[self.mesh.stage]]
        self.placement = Placement(module, self.mesh, shares)
        self.previous, self.next = self._connect()
        self._later_logs: tuple[dict, dict] = ({}, {})

    def _connect(self) -> tuple[tuple[Channel, Channel] | None, tuple[Channel, Channel] | None]:
        """Channels to receive from and to send to the stage before, and the same for the stage behind, if any."""
        device = next(self.module.parameters()).device
        groups = [(dist.new_group(), dist.new_group(backend='gloo')) for _ in range(2)]
        forward, reverse = groups

        def channels(first: int, ahead: int) -> tuple[Channel, Channel]:
            low, high = self.mesh.rank_of(first), self.mesh.rank_of(first + 1)
            return (
                Channel(low, high, *forward, device, in_flight=ahead + 1),
                Channel(high, low, *reverse, device, in_flight=ahead + 1),
            )

        ahead = 1 + self.delay
        before = None if self.mesh.is_first else channels(self.mesh.stage - 1, ahead)
        behind = None if self.mesh.is_last else channels(self.mesh.stage, ahead)
        return before, behind

    # --------------------------------------------------------------------------------------------------------- training

    def train_step(self, data: Any, optim_wrapper: LocalOptimWrapper) -> dict[str, Tensor]:
        """Train this stage on its next batch.

        Args:
            data (dict): A batch of the dataloader; only the first stage looks at it.
            optim_wrapper (LocalOptimWrapper): The optimizers of all blocks, of which the own ones are stepped.

        Returns:
            dict[str, Tensor]: The model's log variables; on other stages than the last the latest that are known there,
            none at first.

        Raises:
            TypeError: If the optimizers are not those of blocks.
            RuntimeError: If :meth:`take_own_part` was not called before, as the pipeline's loops do.
        """
        if not isinstance(optim_wrapper, LocalOptimWrapper):
            raise TypeError(
                f'PipelineParallel trains blocks, but optim_wrapper is a {type(optim_wrapper).__name__}: set '
                "optim_wrapper = dict(constructor='mmman.LocalOptimWrapperConstructor', ...)"
            )
        if self.placement.is_whole:
            raise RuntimeError(
                'every process of this pipeline still has the whole model, and would read data of its own: set '
                "train_cfg.type='mmman.PipelineIterBasedTrainLoop' or 'mmman.PipelineEpochBasedTrainLoop'"
            )
        mesh, module = self.mesh, self.module
        group = mesh.same_stage if mesh.replicas > 1 else None
        with as_world(mesh.same_stage), optim_wrapper.local_step(module, group, main_group=group) as step:
            with optim_wrapper.main.optim_context(module):
                losses = self._run_blocks(data, step)
            if losses is None:
                optim_wrapper.finish()
                main_logs = {}
            else:
                loss, main_logs = module.parse_losses(losses)
                optim_wrapper.update_params(loss)
        if self.next is not None:
            self._hear_of_next_stage(behind=self.delay)
            main_logs, later_logs = self._later_logs
            optim_wrapper.local_log_vars.update(later_logs)
        if self.previous is not None:
            self._report_to_previous_stage(optim_wrapper, main_logs)
        return main_logs

    def _run_blocks(self, data: Any, step: LocalStep) -> dict[str, Tensor] | None:
        """Let the own blocks learn from one batch; returns the model's own losses on the last stage."""
        module, local = self.module, find_local_backbone(self.module).local
        if self.previous is None:
            data = module.data_preprocessor(data, True)
            inputs, step.data_samples = data['inputs'], data['data_samples']
            x, features = inputs, {}
        else:
            x, features, inputs, step.data_samples = self.previous[0].receive()
            step.raw = inputs  # what they were before they were normalised only the first stage has seen
        for block in self.blocks:
            if block is not self.backbone_blocks[-1]:
                x = self._train_block(local, block, x, inputs, features, step)
        if self.next is not None:
            return None
        step.received = (x, features)
        with local.bind(step):
            return module(inputs=inputs, data_samples=step.data_samples, mode='loss')

    def _train_block(
        self,
        local: LocalLearning,
        block: Block,
        x: State,
        inputs: Tensor,
        features: dict[int, State],
        step: LocalStep,
    ) -> State:
        """Train one of the blocks 1..K-1; the last of the own ones hands its output on before it learns."""
        x, own = local.run(block, x)
        features.update(detached(own))
        if block is self.blocks[-1]:
            self.next[0].send((detached(x), features, inputs, step.data_samples))
            local.learn(block, x, inputs, step, partial(self._hear_of_next_stage, behind=self.delay))
        else:
            local.learn(block, x, inputs, step)
        return detached(x)

    def _hear_of_next_stage(self, behind: int) -> None:
        """Wait until the next stage is at most ``behind`` batches later than it would be on one process."""
        forward, reverse = self.next
        while reverse.received < forward.sent - 1 - behind:
            weights, *self._later_logs = reverse.receive()
            if weights is not None:
                self.placement.set_followed(weights)

    def _report_to_previous_stage(self, optim_wrapper: LocalOptimWrapper, main_logs: dict[str, Tensor]) -> None:
        wrapper = optim_wrapper.optim_wrappers[self.blocks[0].name]
        weights = None
        if wrapper.should_update():
            steps = -(-wrapper.inner_count // wrapper._accumulative_counts)
            if steps % self.ema_interval == 0:
                weights = self.placement.weights_to_report()
        logs = [
            {name: value.detach().float().cpu() for name, value in log.items()}
            for log in (main_logs, optim_wrapper.local_log_vars)
        ]
        self.previous[1].send((weights, *logs))

    # ------------------------------------------------------------------------------------------------ the whole model

    def take_own_part(self, optim_wrapper: LocalOptimWrapper) -> None:
        """Free the other stages' parameters, and their optimizers' state that was loaded to resume."""
        own = {block.name for block in self.blocks}
        for name, wrapper in optim_wrapper.items():
            if name not in own:
                wrapper.optimizer.state.clear()
        self.placement.free_others()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, every process has the whole model; all of a pipeline enter it after the same number of steps."""
        was_whole = self.placement.is_whole
        self.gather()
        yield
        if not was_whole:
            self.placement.free_others()

    def gather(self) -> None:
        """Give every process the whole model."""
        if self.next is not None:
            self._hear_of_next_stage(behind=-1)  # of everything: nothing is on its way any more
        self.placement.gather()

    def gather_optimizers(self, optim_wrapper: LocalOptimWrapper) -> dict[str, dict] | None:
        """The states of all blocks' optimizers, on CPU, on the first stage; None on the others."""
        states = optim_wrapper.state_dict()
        own = {block.name: states[block.name] for block in self.blocks}
        parts: list[dict] | None = [{}] * self.mesh.stages if self.mesh.is_first else None
        own = apply_to(own, lambda value: isinstance(value, Tensor), Tensor.cpu)
        dist.gather_object(own, parts, dst=self.mesh.rank_of(0), group=self.mesh.pipeline)
        return None if parts is None else {name: state for part in parts for name, state in part.items()}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's forward pass; needs the whole model."""
        return self.module(*args, **kwargs)

    def val_step(self, data: Any) -> Any:
        """The model's; needs the whole model."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """The model's; needs the whole model."""
        return self.module.test_step(data)
