"""The classification local head: any head of mmpretrain on a few layers grown from one block's output."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmman.registry import MODELS

from .base import BlockOutput, Position, require_map
from .batch_norm import take_one_value
from .vector_classifier import VectorClassifier, build_classifier


@MODELS.register_module()
class ClassificationLocalHead(VectorClassifier):
    """A head of mmpretrain (``LinearClsHead``, ...) as the local head of one block.

    y is pooled, convolved, averaged over its positions and passed through hidden layers, each step where asked for. Of
    tokens (N, L, C) it takes the class token after a layer norm; where there is none, the layer norm of the tokens'
    average, as mmpretrain's ``out_type='avg_featmap'`` does. With no step in between, this is plain greedy learning:
    the average of y, and a linear classifier.

    Args:
        head (dict): Config of the head, which takes a vector for each image; ``in_channels`` is filled in.
        pool (int, optional): Side of the map that y is average-pooled to before the convolutions. Defaults to None.
        convs (Sequence[tuple]): Channels, kernel size and stride of each convolution; norm and ReLU follow. Defaults to
            none.
        hidden (Sequence[int]): Width of each hidden layer; ReLU follows. Defaults to none.
        hidden_norm (bool): Whether the hidden layers are normalised before their ReLU. Defaults to False.
        example (BlockOutput): See :class:`LocalHead`.
        position (Position): See :class:`LocalHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If there are convolutions for tokens, or the head cannot learn from a vector.
    """

    def __init__(
        self,
        head: dict,
        example: BlockOutput,
        position: Position,
        pool: int | None = None,
        convs: Sequence[tuple[int, int, int]] = (),
        hidden: Sequence[int] = (),
        hidden_norm: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(example, position, init_cfg=init_cfg)
        if example.y.ndim == 3:
            if convs or pool:
                require_map(self, example)
            channels = example.y.shape[2]
            norm = nn.LayerNorm(channels)
            self.to_vector = nn.Sequential(norm, ClassToken()) if position.extra_tokens else nn.Sequential(Mean(), norm)
        else:
            channels = example.y.shape[1]
            layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(pool)] if pool else []
            for width, kernel_size, stride in convs:
                norm_cfg = dict(type='BN')
                layers.append(
                    ConvModule(channels, width, kernel_size, stride, padding=kernel_size // 2, norm_cfg=norm_cfg)
                )
                channels = width
            self.to_vector = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.hidden = nn.Sequential()
        for width in hidden:
            self.hidden.append(nn.Linear(channels, width))
            if hidden_norm:
                self.hidden.append(nn.BatchNorm1d(width))
            self.hidden.append(nn.ReLU(inplace=True))
            channels = width
        take_one_value(self)
        self.head = build_classifier(self, head, example, channels)

    def vectors(self, output: BlockOutput) -> Tensor:
        """See :meth:`VectorClassifier.vectors`."""
        return self.hidden(self.to_vector(output.y))


class Mean(nn.Module):
    """The average of the tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) to (N, C)."""
        return tokens.mean(dim=1)


class ClassToken(nn.Module):
    """The first of the tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L, C) to (N, C)."""
        return tokens[:, 0]
