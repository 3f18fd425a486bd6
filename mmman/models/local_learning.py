"""What stands under ``local`` on a backbone: its blocks, what local learning adds to them, and how they are trained."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmman.local_heads import Position
from mmman.memory import recompute
from mmman.partition import BackboneFamily, Block, State, detached

from .dropped_outputs import dropped, keys_to_drop
from .local_branch import LocalBranch
from .local_step import LocalStep
from .with_cp import Piece, pieces_of


class LocalLearning(nn.ModuleDict):
    """The blocks of a backbone and, by the segment that each stands at, the branches of blocks 1..K-1.

    A branch that stands at segment ``layer1.2`` is ``local['layer1_2']``, in checkpoints ``backbone.local.layer1_2``:
    its auxiliary network copies what follows that segment, whatever number its block has.

    Called with images it trains: block after block runs, learns through the bound step, and hands on detached features.

    Args:
        backbone (nn.Module): The backbone. It owns this module; this module only refers to it.
        family (BackboneFamily): How the backbone is taken apart.
        blocks (list[Block]): Its K blocks.
        auxiliary (dict, optional): Config of the auxiliary networks, or None.
        heads (Sequence[dict]): Configs of the K-1 local heads.
        recomputed (Mapping[str, str]): What is recomputed, and how: see :func:`recomputed_parts`.
        drop_outputs (Sequence[int]): Numbers of outputs of blocks 1..K-1 that nothing uses.

    Attributes:
        backbone (nn.Module): The backbone.
        family (BackboneFamily): See above.
        blocks (list[Block]): See above.
        modes (Mapping[str, str]): What is recomputed, and how.
        step (LocalStep, optional): The training step that is going on.
    """

    def __init__(
        self,
        backbone: nn.Module,
        family: BackboneFamily,
        blocks: list[Block],
        auxiliary: dict | None,
        heads: Sequence[dict],
        recomputed: Mapping[str, str],
        drop_outputs: Sequence[int] = (),
    ) -> None:
        super().__init__()
        object.__setattr__(self, 'backbone', backbone)  # not a child: it is the parent
        self.family = family
        self.blocks = blocks
        self.modes = recomputed
        self.pieces = {block.index: pieces_of(block, recomputed) for block in blocks}
        self.step: LocalStep | None = None
        self._watchers: list[tuple[Callable[[Block], None], Callable[[Block], None]]] = []
        self._dropped: frozenset[int] = frozenset()
        if heads:
            self._build(auxiliary, heads, drop_outputs)

    def _build(self, auxiliary: dict | None, heads: Sequence[dict], drop_outputs: Sequence[int]) -> None:
        """Build auxiliary networks and local heads, with shapes from a dry run of one small image."""
        backbone, family = self.backbone, self.family
        training = backbone.training
        backbone.eval()
        with torch.no_grad():
            inputs = x = family.example_input(backbone)
            outputs = [[x := family.run(backbone, segment, x) for segment in block.segments] for block in self.blocks]
            for i, (block, head) in enumerate(zip(self.blocks, heads, strict=False)):
                layer = sum(map(len, outputs[: i + 1])) - 1
                later = tuple(family.feature(x).shape for of_block in outputs[i + 1 :] for x in of_block)
                position = Position(block.index, len(self.blocks), layer, later, family.extra_tokens(backbone))
                self[block.place] = LocalBranch(
                    auxiliary,
                    self.next_segments(block),
                    head,
                    outputs[i][-1],
                    inputs,
                    position,
                    family.feature,
                    self.modes.get(f'local.{block.place}', False),
                )
            made = [x for of_block in outputs for x in of_block]
            segments = [segment for block in self.blocks for segment in block.segments]
            features = {s.closes: x for s, x in zip(segments, made, strict=True) if s.closes is not None}
            self._dropped = keys_to_drop(family, backbone, drop_outputs, features, made[-1])
        backbone.train(training)

    def __getitem__(self, name: str) -> LocalBranch:
        """The branch at a segment (``'layer1_2'``), or that of a block by its number (``'block1'``)."""
        if name not in self._modules:
            name = {block.name: block.place for block in self.blocks[:-1]}.get(name, name)
        return super().__getitem__(name)

    def branch(self, block: Block) -> LocalBranch:
        """The auxiliary network and the local head of one of the blocks 1..K-1."""
        return self[block.place]

    def next_segments(self, block: Block) -> list[nn.Module]:
        """The segments of the next block, as modules: what this block's auxiliary network copies and follows."""
        return [self.family.module(self.backbone, segment) for segment in self.blocks[block.index].segments]

    sources = next_segments  # its name up to version 0.1

    @property
    def recomputed(self) -> frozenset[int]:
        """Numbers of the blocks that keep nothing but the inputs of their segments."""
        return frozenset(
            block.index for block in self.blocks if all(p.mode == 'full' for p in self.pieces[block.index])
        )

    # ---------------------------------------------------------------------------------------------------- training

    @property
    def changes_training(self) -> bool:
        """Whether training in these blocks is anything else than the backbone's own forward pass."""
        return len(self.blocks) > 1 or bool(self.modes)

    def forward(self, inputs: Tensor) -> Any:
        """Train blocks 1..K-1 on a batch, and run block K.

        Args:
            inputs (Tensor): Images, (N, C, H, W).

        Returns:
            What the plain backbone returns, the features of blocks 1..K-1 detached.

        Raises:
            RuntimeError: If no step is bound, or the backbone has already run in it.
        """
        x, features = inputs, {}
        if len(self.blocks) > 1:
            step, first = self._claim_step()
            if step.received is not None:
                x, features = step.received
            elif first:
                for block in self.blocks[:-1]:
                    x = self._train_block(block, x, inputs, features, step)
            else:
                x, features = self._only_run(x)
        x, own = self.run(self.blocks[-1], x)
        return self.family.outputs(self.backbone, {**features, **own}, x, inputs)

    def run(self, block: Block, x: State) -> tuple[State, dict[int, State]]:
        """Run the segments of a block.

        Args:
            block (Block): The block.
            x (State): The detached output of the block before it; the images, (N, C, H, W), for block 1.

        Returns:
            tuple: The block's output, and what it adds to the backbone's outputs by their index in ``out_indices``;
            with their graph.
        """
        features: dict[int, State] = {}
        for piece in self.pieces[block.index]:
            run = partial(self._run_piece, piece)
            if piece.mode is None:
                x, own = run(x)
            else:
                modules = [m for segment in piece.segments for m in self.family.modules(self.backbone, segment)]
                x, own = recompute(run, x, modules=modules, mode=piece.mode)
            features.update(own)
        return x, features

    def _run_piece(self, piece: Piece, x: State) -> tuple[State, dict[int, State]]:
        features = {}
        for segment in piece.segments:
            x = self.family.run(self.backbone, segment, x)
            if segment.closes is not None:
                features[segment.closes] = x
        return x, features

    def learn(
        self,
        block: Block,
        x: State,
        inputs: Tensor,
        step: LocalStep,
        before_following: Callable[[], None] | None = None,
    ) -> None:
        """Let one of the blocks 1..K-1 learn from its output. On return nothing of its graph is needed any more.

        Args:
            block (Block): The block.
            x (State): Its output with its graph.
            inputs (Tensor): The images, (N, C, H, W).
            step (LocalStep): The step, with the batch's targets.
            before_following (Callable, optional): Called after the block's optimizer step, before the auxiliary network
                follows the next block.
        """
        branch = self.branch(block)

        def follow() -> None:
            if before_following is not None:
                before_following()
            branch.update_auxiliary(self.next_segments(block))

        step.update(block.index, branch(x, inputs, step), follow)

    @contextmanager
    def bind(self, step: LocalStep) -> Iterator[None]:
        """Let the training forward inside this context learn through ``step``."""
        self.step = step
        try:
            yield
        finally:
            self.step = None

    @contextmanager
    def watch(self, begins: Callable[[Block], None], ends: Callable[[Block], None]) -> Iterator[None]:
        """Inside, call two functions when one of the blocks 1..K-1 begins to be trained, and when it has learned."""
        self._watchers.append((begins, ends))
        try:
            yield
        finally:
            self._watchers.remove((begins, ends))

    def _claim_step(self) -> tuple[LocalStep, bool]:
        """The step that is going on, and whether the backbone runs in it for the first time."""
        if self.step is None:
            raise RuntimeError(
                f'LocalBackbone was called for training outside of a local step, so its {len(self.blocks)} blocks '
                "would not learn: set optim_wrapper = dict(constructor='mmman.LocalOptimWrapperConstructor', ...), and "
                'call the model through train_step'
            )
        if self.step.done and not self.step.again:
            raise RuntimeError(
                'LocalBackbone ran twice in one training step: models that call their backbone several times per '
                'iteration with gradients cannot be trained in blocks; use partition=dict(num_blocks=1)'
            )
        first, self.step.done = not self.step.done, True
        return self.step, first

    @torch.no_grad()
    def _only_run(self, x: State) -> tuple[State, dict[int, State]]:
        """Run blocks 1..K-1, which do not learn; see :meth:`run`."""
        features = {}
        for block in self.blocks[:-1]:
            x, own = self.run(block, x)
            features.update(own)
        return x, features

    def _train_block(
        self, block: Block, x: State, inputs: Tensor, features: dict[int, State], step: LocalStep
    ) -> State:
        # A function of its own: what it leaves behind is detached, and all else dies with its local names.
        for begins, _ in self._watchers:
            begins(block)
        x, own = self.run(block, x)
        features.update({key: dropped(y) if key in self._dropped else detached(y) for key, y in own.items()})
        del own
        self.learn(block, x, inputs, step)
        x = detached(x)
        for _, ends in self._watchers:
            ends(block)
        return x

    # ------------------------------------------------------------------------------------------ who owns what, state

    @property
    def detached_outputs(self) -> list[bool]:
        """Of each feature in the output, whether a block before the last made it: in training it is detached then."""
        own = {segment.closes for segment in self.blocks[-1].segments}
        return [bool(made_of) and not made_of & own for made_of in self.family.sources_of_outputs(self.backbone)]

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
                owners.update(dict.fromkeys(of_segment(self.backbone, segment), block.index))
            owners.update(dict.fromkeys(of_module(self.branch(block)), block.index))
        return owners

    def start(self) -> None:
        """Initialise: the auxiliary networks from the next blocks, the local heads by their own ``init_cfg``."""
        for block in self.blocks[:-1]:
            self.branch(block).start_from(self.next_segments(block))
