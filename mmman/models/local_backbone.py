"""A backbone that is trained in K gradient-isolated blocks."""

import logging
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmman.local_heads import Position
from mmman.memory.recompute import recompute
from mmman.partition import Block, Segment, family_of, make_blocks, merge_frozen
from mmman.registry import MODELS

from .local_block import LocalBlock
from .local_step import LocalStep

MAN_PLUS_PLUS = dict(type='mmman.MomentumAuxiliary')


@MODELS.register_module()
class LocalBackbone(nn.Module):
    """Trains a backbone by MAN++: K blocks, each but the last with an auxiliary network, a local head and a local loss.

    The result *is* the given backbone, its class extended on the fly as ``torch.distributed.fsdp.fully_shard`` extends
    the modules it is given: names of parameters, checkpoints, ``paramwise_cfg``, ``init_cfg``, ``frozen_stages`` and
    ``isinstance`` stay as they were. What local learning adds lies under ``local``.

    In training, ``forward`` runs block after block; each learns at once, through the :class:`LocalStep` that
    :class:`mmman.optim.LocalOptimWrapper` binds, and hands on detached features. In evaluation, without gradients, and
    with K = 1, ``forward`` is the backbone's own.

    Args:
        backbone (dict | nn.Module): The backbone, or its config.
        partition (dict): Where to cut; arguments of :func:`mmman.partition.make_blocks`. Leading blocks that have
            nothing to train (``frozen_stages``) are merged into the next one, with a line in the log.
        local_head (dict | list[dict], optional): Config of the local heads: one for all blocks 1..K-1, or a list with
            one for each. Needed where K > 1.
        auxiliary (dict, optional): Config of the auxiliary networks; None gives the local heads the block's own output
            (the plain host method). Defaults to ``dict(type='mmman.MomentumAuxiliary')``.
        with_cp (bool | Sequence[int]): Blocks that keep only the inputs of their segments (and of their auxiliary
            network's layers) and compute what lies between again in their backward: all, none, or those with these
            numbers, 1..K. Training stays the same to the last bit. With K = 1 this is activation checkpointing of the
            whole backbone, the stem included. Defaults to False.
        pretrained (str, optional): What mmseg's segmentors with ``pretrained`` in their config hand to the backbone,
            which gets it. Defaults to None.

    Raises:
        TypeError: If the backbone belongs to no supported family.
        ValueError: If the partition, the number of local heads or ``with_cp`` does not fit.
    """

    _step: LocalStep | None = None

    def __new__(cls, backbone: dict | nn.Module | None = None, *args: Any, **kwargs: Any) -> 'LocalBackbone':
        """Turn the backbone into a LocalBackbone; without one (``copy.deepcopy``), make an empty instance."""
        if backbone is None:
            return super().__new__(cls)
        if isinstance(backbone, dict):
            given = {'pretrained': kwargs['pretrained']} if kwargs.get('pretrained') else {}
            backbone = MODELS.build({**backbone, **given})
        if isinstance(backbone, LocalBackbone):
            raise TypeError(f'{type(backbone).__name__} already is a LocalBackbone: wrap the plain backbone, once')
        family = family_of(backbone)
        plain = type(backbone)
        backbone.__class__ = types.new_class(f'Local{plain.__name__}', (cls, plain))
        backbone.family = family
        return backbone

    def __init__(
        self,
        backbone: dict | nn.Module,
        partition: dict,
        local_head: dict | list[dict] | None = None,
        auxiliary: dict | None = MAN_PLUS_PLUS,
        with_cp: bool | Sequence[int] = False,
        pretrained: str | None = None,
    ) -> None:
        # No super().__init__(): self is the backbone that __new__ was given, and initialised.
        self.train(self.training)  # where some, as VGG, freeze their stages
        asked = make_blocks(self.family.segments(self), **partition)
        self.blocks: list[Block] = merge_frozen(asked, self._trainable)
        if len(self.blocks) < len(asked):
            print_log(
                f'LocalBackbone: {len(asked) - len(self.blocks)} of the {len(asked)} blocks asked for have nothing to '
                f'train (frozen) and were merged into the next one: {", ".join(map(str, self.blocks))}',
                logger='current',
                level=logging.WARNING,
            )
        self.recomputed = _recomputed(with_cp, len(self.blocks))  # `with_cp` is the backbone's own
        self.local = self._build_local(_head_configs(local_head, len(self.blocks)), auxiliary)

    def _build_local(self, heads: list[dict], auxiliary: dict | None) -> nn.ModuleDict:
        """Build auxiliary networks and local heads, with shapes from a dry run of one small image."""
        local = nn.ModuleDict()
        training = self.training
        self.eval()
        with torch.no_grad():
            inputs = x = self.family.example_input(self)
            outputs = [[x := self.family.run(self, segment, x) for segment in block.segments] for block in self.blocks]
            for i, head in enumerate(heads):
                layer = sum(map(len, outputs[: i + 1])) - 1
                later = tuple(x.shape for outputs_of_block in outputs[i + 1 :] for x in outputs_of_block)
                position = Position(i + 1, len(self.blocks), layer, later)
                sources = self.sources(self.blocks[i])
                local[name_of(self.blocks[i])] = LocalBlock(
                    auxiliary, sources, head, outputs[i][-1], inputs, position, i + 1 in self.recomputed
                )
        self.train(training)
        return local

    # ------------------------------------------------------------------------------------------------ forward pass

    def forward(self, x: Tensor) -> Any:
        """Run the backbone; in training, let every block but the last learn on the way.

        Args:
            x (Tensor): Images, (N, 3, H, W).

        Returns:
            Whatever the plain backbone returns: a tuple of feature maps for most. In training those of blocks 1..K-1
            (``detached_outputs``) are detached.

        Raises:
            RuntimeError: If training is attempted without a bound step, or twice in one.
        """
        learns = self.training and torch.is_grad_enabled()
        if not learns or (len(self.blocks) == 1 and not self.recomputed):
            return super().forward(x)
        if len(self.blocks) == 1:
            features: dict[int, Tensor] = {}
            x = self._run(self.blocks[0], x, features)
            return self.family.outputs(self, features, x)
        if self._step is None:
            raise RuntimeError(
                f'LocalBackbone was called for training outside of a local step, so its {len(self.blocks)} blocks '
                "would not learn: set optim_wrapper = dict(constructor='mmman.LocalOptimWrapperConstructor', ...), and "
                'call the model through train_step'
            )
        if self._step.done:
            raise RuntimeError(
                'LocalBackbone ran twice in one training step: models that call their backbone several times per '
                'iteration with gradients cannot be trained in blocks; use partition=dict(num_blocks=1)'
            )
        step, inputs, features = self._step, x, {}
        step.done = True
        if step.received is not None:
            x, features = step.received
        else:
            for block in self.blocks[:-1]:
                x = self.learn(block, x, inputs, features, step)
        x = self._run(self.blocks[-1], x, features)
        return self.family.outputs(self, features, x)

    def learn(self, block: Block, x: Tensor, inputs: Tensor, features: dict[int, Tensor], step: LocalStep) -> Tensor:
        """Run one of the blocks 1..K-1 and let it learn. On return nothing of its graph is alive.

        Args:
            block (Block): The block.
            x (Tensor): The detached output of the block before it, (N, C, H, W) or (N, L, C); the images for block 1.
            inputs (Tensor): The images, (N, 3, H, W).
            features (dict[int, Tensor]): Collects what the block adds to the backbone's outputs, detached.
            step (LocalStep): The step, with the batch's targets.

        Returns:
            Tensor: The block's detached output.
        """
        local = self.local[name_of(block)]
        own: dict[int, Tensor] = {}
        x = self._run(block, x, own)
        features.update({i: feature.detach() for i, feature in own.items()})
        if step.handed_on is not None:
            step.handed_on(block.index, x.detach(), features)
        step.update(block.index, local(x, inputs, step), lambda: local.update_auxiliary(self.sources(block)))
        return x.detach()

    def _run(self, block: Block, x: Tensor, features: dict[int, Tensor]) -> Tensor:
        for segment in block.segments:
            run = partial(self.family.run, self, segment)
            if block.index in self.recomputed:
                run = partial(recompute, run, modules=self.family.modules(self, segment))
            x = run(x)
            if segment.closes is not None:
                features[segment.closes] = x
        return x

    @contextmanager
    def bind(self, step: LocalStep) -> Iterator[None]:
        """Let the training forward inside this context learn through ``step``."""
        self._step = step
        try:
            yield
        finally:
            del self._step

    # ---------------------------------------------------------------------------------------- blocks and their weights

    def sources(self, block: Block) -> list[nn.Module]:
        """The segments of the next block, as modules: what this block's auxiliary network copies."""
        return [self.family.module(self, segment) for segment in self.blocks[block.index].segments]

    def _trainable(self, segment: Segment) -> bool:
        return any(p.requires_grad for p in self.family.parameters(self, segment))

    @property
    def detached_outputs(self) -> list[bool]:
        """Of each feature in the output, whether a block before the last made it: in training it is detached then."""
        return [
            block is not self.blocks[-1]
            for block in self.blocks
            for segment in block.segments
            if segment.closes is not None
        ]

    def block_of_parameters(self) -> dict[nn.Parameter, int]:
        """The index of the block that each parameter of blocks 1..K-1 learns in, auxiliaries and local heads included.

        Every other parameter of the model, in the backbone or behind it, belongs to block K.
        """
        return self._block_of(self.family.parameters, nn.Module.parameters)

    def block_of_buffers(self) -> dict[Tensor, int]:
        """The index of the block that each buffer of blocks 1..K-1 belongs to; the others belong to block K."""
        return self._block_of(self.family.buffers, nn.Module.buffers)

    def _block_of(self, of_segment: Callable, of_module: Callable) -> dict[Tensor, int]:
        owners = {}
        for block in self.blocks[:-1]:
            for segment in block.segments:
                owners.update(dict.fromkeys(of_segment(self, segment), block.index))
            owners.update(dict.fromkeys(of_module(self.local[name_of(block)]), block.index))
        return owners

    def train(self, mode: bool = True) -> 'LocalBackbone':
        """Set training mode. The backbone's ``norm_eval`` holds for the auxiliary networks, not for the local heads."""
        super().train(mode)
        for local in self._modules.get('local', {}).values():
            local.head.train(mode)
        return self

    def init_weights(self) -> None:
        """Initialise the backbone as it would be alone, then start the auxiliary networks from it (contract 3)."""
        local = self._modules.pop('local')
        try:
            super().init_weights()
        finally:
            self._modules['local'] = local
        for block in self.blocks[:-1]:
            local[name_of(block)].start_from(self.sources(block))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A plain checkpoint: LB and EMA start as copies of the weights that are being loaded. (While init_weights loads
        # pretrained ones `local` is hidden, and started afterwards.)
        for block in self.blocks[:-1] if 'local' in self._modules else ():
            own = f'{prefix}local.{name_of(block)}.'
            sources = [f'{prefix}{segment.name}.' for segment in self.blocks[block.index].segments]
            loaded = [{k.removeprefix(s): v for k, v in state_dict.items() if k.startswith(s)} for s in sources]
            if all(loaded) and not any(k.startswith(own) for k in state_dict):
                start = self.local[name_of(block)].start_state(loaded)
                state_dict.update({own + key: value for key, value in start.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)


def name_of(block: Block) -> str:
    """The name of a block in ``LocalBackbone.local`` and among the optimizers."""
    return f'block{block.index}'


def find_local_backbone(model: nn.Module) -> LocalBackbone:
    """Find the one LocalBackbone of a model.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found = [module for module in model.modules() if isinstance(module, LocalBackbone)]
    if len(found) != 1:
        raise ValueError(
            f'{type(model).__name__} has {len(found)} backbones of type mmman.LocalBackbone; local learning needs one: '
            "set model = dict(backbone=dict(type='mmman.LocalBackbone', backbone=..., partition=..., local_head=...))"
        )
    return found[0]


def _head_configs(local_head: dict | list[dict] | None, num_blocks: int) -> list[dict]:
    needed = num_blocks - 1
    if local_head is None and needed:
        raise ValueError(
            f'LocalBackbone: {num_blocks} blocks need {needed} local head(s), got none: set '
            "local_head=dict(type='mmman.DetectionLocalHead', ...)"
        )
    if not isinstance(local_head, (list, tuple)):
        return [local_head] * needed
    if len(local_head) != needed:
        raise ValueError(
            f'LocalBackbone: local_head lists {len(local_head)} configs, but {num_blocks} blocks need {needed} '
            '(one for each block but the last)'
        )
    return list(local_head)


def _recomputed(with_cp: bool | Sequence[int], num_blocks: int) -> frozenset[int]:
    blocks = range(1, num_blocks + 1)
    numbers = {True: blocks, False: ()}[with_cp] if isinstance(with_cp, bool) else with_cp
    # A string is a sequence, and True and 1.0 are equal to 1: the types are asked for.
    fits = isinstance(numbers, (list, tuple, range)) and all(type(i) is int and i in blocks for i in numbers)
    if not fits or len(set(numbers)) < len(numbers):
        raise ValueError(
            f'LocalBackbone.with_cp takes True, False or a list of blocks, each once and from 1 to {num_blocks}, got '
            f'{with_cp!r}'
        )
    return frozenset(numbers)
