"""Vision transformers of mmpretrain."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..segments import Segment
from .base import STEM, BackboneFamily


class VisionTransformerFamily(BackboneFamily):
    """Segments: ``'stem'`` (patch embedding, class token, position embedding), then every layer as ``'layers.<i>'``.

    What passes from segment to segment are the tokens (N, L, C), the class token first where there is one. The final
    norm belongs to the last layer.
    """

    CLASSES = frozenset({'mmpretrain.models.backbones.vision_transformer.VisionTransformer'})

    @classmethod
    def supports(cls, backbone: nn.Module) -> bool:
        """See :class:`BackboneFamily`."""
        # A feature map needs the number of patches along each side, which the tokens do not tell.
        return super().supports(backbone) and backbone.out_type != 'featmap'

    def example_input(self, backbone: nn.Module) -> Tensor:
        """See :class:`BackboneFamily`. Of the size that the backbone was made for: some embed the positions of that."""
        return self._blank_image(backbone, *backbone.img_size)

    @staticmethod
    def describe() -> str:
        """See :class:`BackboneFamily`."""
        return "VisionTransformer of mmpretrain (but not with out_type='featmap')"

    def segments(self, backbone: nn.Module) -> list[Segment]:
        """See :class:`BackboneFamily`."""
        stem = ['patch_embed', 'pos_embed', 'pre_norm', *(['cls_token'] if backbone.cls_token is not None else [])]
        segments = [Segment(STEM, 'layers.0', tuple(stem))]
        for i in range(backbone.num_layers):
            name = f'layers.{i}'
            final_norm = ('ln1',) if self._is_last(backbone, name) and backbone.final_norm else ()
            segments.append(Segment(name, name, (name, *final_norm), i if i in backbone.out_indices else None))
        return segments

    def run(self, backbone: nn.Module, segment: Segment, x: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        x = super().run(backbone, segment, x)
        return backbone.ln1(x) if self._is_last(backbone, segment.name) and backbone.final_norm else x

    def extra_tokens(self, backbone: nn.Module) -> int:
        """See :class:`BackboneFamily`."""
        return backbone.num_extra_tokens if backbone.cls_token is not None else 0

    def outputs(
        self, backbone: nn.Module, features: Mapping[int, Tensor], x: Tensor, images: Tensor
    ) -> tuple[Tensor, ...]:
        """See :class:`BackboneFamily`."""
        return tuple(backbone._format_output(features[i], None) for i in sorted(features))

    @staticmethod
    def _is_last(backbone: nn.Module, name: str) -> bool:
        return name == f'layers.{backbone.num_layers - 1}'

    def run_stem(self, backbone: nn.Module, images: Tensor) -> Tensor:
        """See :class:`BackboneFamily`."""
        x, resolution = backbone.patch_embed(images)
        if backbone.cls_token is not None:
            x = torch.cat((backbone.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = x + backbone.resize_pos_embed(
            backbone.pos_embed,
            backbone.patch_resolution,
            resolution,
            mode=backbone.interpolate_mode,
            num_extra_tokens=backbone.num_extra_tokens,
        )
        return backbone.pre_norm(backbone.drop_after_pos(x))
