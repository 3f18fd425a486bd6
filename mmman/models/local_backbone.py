"""A backbone that is trained in K gradient-isolated blocks."""

import functools
import logging
import types
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmman.memory.conv_norm import join_conv_and_norm
from mmman.partition import BackboneFamily, family_of, make_blocks, merge_frozen
from mmman.registry import MODELS

from .checkpoint_loading import complete_local_state
from .local_learning import LocalLearning
from .with_cp import WithCP, recomputed_parts

MAN_PLUS_PLUS = dict(type='mmman.MomentumAuxiliary')
# Attributes of version 0.1 that lie in `local` now.
MOVED = frozenset(
    ['bind', 'block_of_buffers', 'block_of_parameters', 'blocks', 'detached_outputs', 'family', 'recomputed', 'sources']
)


@MODELS.register_module()
class LocalBackbone(nn.Module):
    """Trains a backbone by MAN++: K blocks, each but the last with an auxiliary network, a local head and a local loss.

    The result *is* the given backbone, its class extended as ``torch.distributed.fsdp.fully_shard`` extends the modules
    it is given: names of parameters, checkpoints, ``paramwise_cfg``, ``init_cfg``, ``frozen_stages`` and ``isinstance``
    stay as they were. All that local learning adds lies in one attribute, ``local``, a :class:`LocalLearning`.

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
        with_cp (bool | Sequence[int] | Mapping): What keeps only the inputs of its segments (and of its auxiliary
            network's layers) and computes what lies between again in its backward: all blocks, none, or those with
            these numbers, 1..K; or single segments, which may also keep what took multiplications, by name:
            ``dict(full=['layer1'], selective=['layer2.0', 'local.layer2_0'])``, see
            :func:`mmman.models.with_cp.recomputed_parts`. Training stays the same to the last bit. With K = 1 this is
            activation checkpointing of the backbone. Defaults to False.
        drop_outputs (Sequence[int]): Numbers of outputs that nothing behind the backbone uses, as the first of a ResNet
            before an FPN with ``start_level=1``: in training those of blocks 1..K-1 are not kept. What uses them all
            the same raises. Defaults to none.
        efficient_conv_bn_eval (bool): Whether convolutions and the norms behind them run as one where the norm is in
            eval mode (``norm_eval``, frozen stages), as by mmengine's setting of this name, in copies of auxiliary
            networks, too. Less is kept; results are the same up to rounding. Defaults to False.
        pretrained (str, optional): What mmseg's segmentors with ``pretrained`` in their config hand to the backbone,
            which gets it. Defaults to None.

    Raises:
        TypeError: If the backbone belongs to no supported family, or is not its family's segments one after the other.
        ValueError: If the partition, the number of local heads or ``with_cp`` does not fit.
    """

    def __new__(cls, backbone: dict | nn.Module, *args: Any, **kwargs: Any) -> 'LocalBackbone':
        """Turn the backbone into a LocalBackbone."""
        if isinstance(backbone, dict):
            given = {'pretrained': kwargs['pretrained']} if kwargs.get('pretrained') else {}
            backbone = MODELS.build({**backbone, **given})
        if isinstance(backbone, LocalBackbone):
            raise TypeError(f'{type(backbone).__name__} already is a LocalBackbone: wrap the plain backbone, once')
        if hasattr(backbone, 'local'):
            raise TypeError(
                f'{type(backbone).__module__}.{type(backbone).__name__} has an attribute `local` of its own, where '
                'LocalBackbone puts all of its own: rename it, in a subclass of the backbone for one'
            )
        family = family_of(backbone)
        backbone.__class__ = _local_class(cls, type(backbone))
        backbone.local = family  # until __init__ puts the blocks there: it is proven for the plain class
        return backbone

    def __init__(
        self,
        backbone: dict | nn.Module,
        partition: dict,
        local_head: dict | list[dict] | None = None,
        auxiliary: dict | None = MAN_PLUS_PLUS,
        with_cp: WithCP = False,
        drop_outputs: Sequence[int] = (),
        efficient_conv_bn_eval: bool = False,
        pretrained: str | None = None,
    ) -> None:
        # No super().__init__(): self is the backbone that __new__ was given, and initialised.
        self.train(self.training)  # where some, as VGG, freeze their stages
        family = self.local
        asked = make_blocks(family.segments(self), **partition)
        blocks = merge_frozen(asked, lambda segment: any(p.requires_grad for p in family.parameters(self, segment)))
        if len(blocks) < len(asked):
            print_log(
                f'LocalBackbone: {len(asked) - len(blocks)} of the {len(asked)} blocks asked for have nothing to '
                f'train (frozen) and were merged into the next one: {", ".join(map(str, blocks))}',
                logger='current',
                level=logging.WARNING,
            )
        heads = _head_configs(local_head, len(blocks))
        recomputed = recomputed_parts(with_cp, blocks)
        if efficient_conv_bn_eval:
            self._join_conv_and_norm(family)
        self.local = LocalLearning(self, family, blocks, auxiliary, heads, recomputed, drop_outputs)

    def _join_conv_and_norm(self, family: BackboneFamily) -> None:
        modules = [module for segment in family.segments(self) for module in family.modules(self, segment)]
        if not join_conv_and_norm(modules):
            print_log(
                f'LocalBackbone: efficient_conv_bn_eval changes nothing, because no part of {type(self).__name__} has '
                'a BatchNorm in eval mode (norm_eval=True, frozen_stages) behind a convolution',
                logger='current',
                level=logging.WARNING,
            )

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in MOVED and 'local' in self._modules:
                return getattr(self._modules['local'], name)
            raise

    def __reduce_ex__(self, protocol: int) -> tuple:
        # By its two bases: pickle finds a class by its name in a module, and this one is made on the fly.
        _, _, *state = super().__reduce_ex__(protocol)
        return _empty, type(self).__bases__, *state

    def forward(self, x: Tensor) -> Any:
        """Compute the features; in training, let every block but the last learn on the way.

        Args:
            x (Tensor): Images, (N, C, H, W).

        Returns:
            Whatever the plain backbone returns: a tuple of feature maps for most. In training those of blocks 1..K-1
            (``local.detached_outputs``) are detached.

        Raises:
            RuntimeError: If training is attempted without a bound step, or twice in one.
        """
        if self.training and torch.is_grad_enabled() and self.local.changes_training:
            return self.local(x)
        return super().forward(x)

    def train(self, mode: bool = True) -> 'LocalBackbone':
        """Set training mode. The backbone's ``norm_eval`` holds for the auxiliary networks, not for the local heads."""
        super().train(mode)
        for branch in self._modules.get('local', {}).values():
            branch.head.train(mode)
        return self

    def init_weights(self) -> None:
        """Initialise the backbone as it would be alone, then start the auxiliary networks from it (contract 3)."""
        local = self._modules.pop('local')
        try:
            super().init_weights()
        finally:
            self._modules['local'] = local
        local.start()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # First the backbone's own: some rename in place what older versions saved (Swin's norms).
        super()._load_from_state_dict(state_dict, prefix, *args)
        # While init_weights loads pretrained weights `local` is hidden, and started afterwards.
        if 'local' in self._modules:
            complete_local_state(self.local, state_dict, prefix)


@functools.cache
def _local_class(wrapper: type[LocalBackbone], plain: type[nn.Module]) -> type[LocalBackbone]:
    """The class of a plain class's backbones that learn locally; one for each, so that they are alike."""
    return types.new_class(f'Local{plain.__name__}', (wrapper, plain))


def _empty(wrapper: type[LocalBackbone], plain: type[nn.Module]) -> LocalBackbone:
    """An instance without state, for ``copy`` and ``pickle``."""
    return object.__new__(_local_class(wrapper, plain))


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
