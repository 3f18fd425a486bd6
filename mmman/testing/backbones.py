"""A tiny backbone of every family and kind: what it is built with, by its registered name and, behind a comma, more."""

from mmengine.registry import MODELS, DefaultScope
from torch import nn

R18 = dict(depth=18, base_channels=8)
VGG = dict(depth=13, num_stages=3, dilations=(1, 1, 1), out_indices=(2,))
# Images of 64 pixels: the position embedding is resized.
VIT = dict(arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32), img_size=32, patch_size=8)
SMALL_VIT = dict(
    arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32), img_size=64, patch_size=16
)
SEG_VIT = dict(embed_dims=16, num_layers=3, num_heads=2, img_size=64)
SWIN = dict(embed_dims=8, depths=[1, 2, 2, 1], num_heads=[1, 1, 1, 1])
PVT = dict(embed_dims=8, num_layers=[1, 2, 1, 1], num_heads=[1, 1, 1, 1])
TWINS = dict(
    embed_dims=[8, 8, 16, 16],
    depths=[1, 2, 1, 1],
    num_heads=[1, 1, 1, 1],
    patch_sizes=[4, 2, 2, 2],
    strides=[4, 2, 2, 2],
    mlp_ratios=[2, 2, 2, 2],
    sr_ratios=[8, 4, 2, 1],
)


def _hr_stage(branches, modules=1, block='BASIC'):
    channels = tuple(4 * 2**i for i in range(branches))
    return dict(
        num_modules=modules, num_branches=branches, block=block, num_blocks=(1,) * branches, num_channels=channels
    )


HRNET = dict(
    stage1=_hr_stage(1, block='BOTTLENECK'), stage2=_hr_stage(2), stage3=_hr_stage(3, 2), stage4=_hr_stage(4, 2)
)
UNET = dict(
    enc_num_convs=(1, 1, 1),
    dec_num_convs=(1, 1),
    downsamples=(True, True),
    enc_dilations=(1, 1, 1),
    dec_dilations=(1, 1),
)
ICNET = dict(
    backbone_cfg=dict(
        type='mmseg.ResNetV1c',
        depth=18,
        base_channels=8,
        stem_channels=8,
        strides=(1, 2, 1, 1),
        zero_init_residual=False,
    ),
    layer_channels=(16, 64),
    light_branch_middle_channels=8,
    psp_out_channels=16,
    out_channels=(8, 16, 16),
    norm_cfg=dict(type='BN'),
)
CONFORMER = dict(arch=dict(embed_dims=16, depths=6, num_heads=2, channel_ratio=1), base_channels=16, norm_eval=False)
SAC = dict(sac=dict(type='SAC', use_deform=False), stage_with_sac=(False, True, True, True))
BACKBONES = {
    'mmdet.ResNet': dict(R18, out_indices=(0, 1, 2, 3)),
    'mmdet.ResNet, two outputs': dict(R18, out_indices=(1, 3)),
    'mmdet.ResNetV1d': dict(R18, stem_channels=16),
    'mmdet.ResNeXt': dict(depth=50, groups=4, base_width=4, base_channels=8),
    'mmdet.ResNet, three stages': dict(R18, num_stages=3, strides=(1, 2, 1), dilations=(1, 1, 2), out_indices=(0, 2)),
    'mmdet.Res2Net': dict(depth=50, scales=4, base_width=4, base_channels=8),
    'mmdet.RegNet': dict(arch='regnetx_400mf'),
    'mmseg.ResNet': R18,
    'mmseg.ResNetV1c': dict(
        depth=50,
        base_channels=8,
        stem_channels=16,
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        contract_dilation=True,
    ),
    'mmpretrain.ResNet': dict(depth=18),
    'mmpretrain.SEResNet': dict(depth=50, se_ratio=16),
    'mmpretrain.ResNet_CIFAR': dict(depth=18, base_channels=8, stem_channels=8),
    'mmman.SmallResNet': dict(depth=20, base_channels=8),
    'mmpretrain.VGG': dict(depth=11),
    'mmpretrain.VGG, norms, several outputs': dict(VGG, norm_cfg=dict(type='BN'), out_indices=(0, 2)),
    'mmpretrain.VGG, no last pool': dict(VGG, with_last_pool=False),
    'mmpretrain.VGG, classifier': dict(VGG, out_indices=(1, 3)),
    'mmpretrain.VisionTransformer': VIT,
    'mmpretrain.VisionTransformer, several outputs': dict(VIT, out_indices=(0, 2)),
    'mmpretrain.VisionTransformer, all outputs': dict(VIT, out_indices=(0, 1, 2), pre_norm=True, final_norm=False),
    'mmpretrain.VisionTransformer, tokens': dict(VIT, out_type='raw', out_indices=(1, 2)),
    'mmpretrain.VisionTransformer, no class token': dict(VIT, out_type='raw', with_cls_token=False),
    'mmpretrain.VisionTransformer, average': dict(VIT, out_type='avg_featmap', out_indices=(1, 2), final_norm=False),
    'mmdet.SwinTransformer': dict(SWIN),
    'mmdet.SwinTransformer, positions': dict(SWIN, use_abs_pos_embed=True, pretrain_img_size=64, drop_path_rate=0.5),
    'mmseg.SwinTransformer, two outputs': dict(SWIN, out_indices=(1, 3)),
    'mmpretrain.SwinTransformer': dict(arch=SWIN, pad_small_map=True, use_abs_pos_embed=True),
    'mmpretrain.SwinTransformer, merged outputs': dict(
        arch=SWIN, pad_small_map=True, out_after_downsample=True, out_indices=(0, 3)
    ),
    'mmpretrain.SwinTransformerV2': dict(
        arch=dict(SWIN, extra_norm_every_n_blocks=0), img_size=64, window_size=[4, 4, 4, 2], out_indices=(0, 3)
    ),
    'mmpretrain.DaViT': dict(arch=SWIN, pad_small_map=True, out_indices=(1, 3)),
    'mmdet.PyramidVisionTransformer': dict(PVT),
    'mmdet.PyramidVisionTransformerV2': dict(PVT, out_indices=(0, 3)),
    'mmseg.MixVisionTransformer': dict(PVT),
    'mmseg.PCPVT': dict(TWINS, norm_after_stage=True),
    'mmpretrain.PCPVT': dict(arch=TWINS, out_indices=(0, 3)),
    'mmseg.MSCAN': dict(
        embed_dims=[4, 8, 8, 8], mlp_ratios=[2, 2, 2, 2], depths=[1, 2, 1, 1], norm_cfg=dict(type='BN')
    ),
    'mmpretrain.VAN': dict(
        arch=dict(embed_dims=[4, 8, 8, 8], depths=[1, 2, 1, 1], ffn_ratios=[2, 2, 2, 2]), out_indices=(0, 3)
    ),
    'mmpretrain.MViT': dict(
        arch=dict(embed_dims=8, num_layers=3, num_heads=1, downscale_indices=[1, 2]), img_size=64, out_scales=[0, 2]
    ),
    'mmseg.VisionTransformer': dict(SEG_VIT, out_indices=(0, 2), final_norm=True),
    'mmseg.VisionTransformer, class token': dict(SEG_VIT, output_cls_token=True, pre_norm=True),
    'mmseg.VisionTransformer, no class token': dict(SEG_VIT, with_cls_token=False),
    'mmseg.BEiT': dict(SEG_VIT, out_indices=(1, 2), qv_bias=True),
    'mmseg.MAE': dict(SEG_VIT),
    'mmpretrain.BEiTViT': dict(
        SMALL_VIT, out_type='avg_featmap', use_abs_pos_emb=False, use_rel_pos_bias=True, use_shared_rel_pos_bias=False
    ),
    'mmpretrain.ViTEVA02': dict(SMALL_VIT, out_type='avg_featmap', final_norm=False),
    'mmpretrain.XCiT': dict(embed_dims=16, depth=3, num_heads=2, patch_size=16),
    'mmpretrain.Conformer': dict(CONFORMER, out_indices=[3, 6]),
    'mmpretrain.Conformer, no class token': dict(CONFORMER, with_cls_token=False),
    'mmpretrain.TNT': dict(
        arch=dict(embed_dims_outer=16, embed_dims_inner=4, num_layers=3, num_heads_inner=2, num_heads_outer=2),
        img_size=64,
    ),
    'mmdet.HRNet': dict(extra=HRNET),
    'mmdet.HRNet, one output': dict(extra=HRNET, multiscale_output=False),
    'mmpretrain.HRNet': dict(extra=HRNET),
    'mmdet.HourglassNet': dict(downsample_times=2, stage_channels=(8,) * 3, stage_blocks=(1,) * 3, feat_channel=8),
    'mmseg.UNet': dict(base_channels=4, strides=(1, 1, 1), num_stages=3, **UNET),
    'mmseg.ICNet': dict(ICNET),
    'mmdet.DetectoRS_ResNet': dict(depth=50, base_channels=8, output_img=True),
    # With one branch, because a segmentor has the targets of one. Without init_cfg its weights are what memory held.
    'mmdet.TridentResNet': dict(
        depth=50,
        base_channels=8,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        trident_dilations=(2,),
        num_branch=1,
        test_branch_idx=-1,
        init_cfg=dict(type='Kaiming', layer=['Conv2d', 'TridentConv']),
    ),
}
# Chains of their submodules, which no family claims.
CHAINS = {
    'mmpretrain.VisionTransformer, map': dict(VIT, out_type='featmap', out_indices=(0, 2)),
    'mmpretrain.DeiT3': dict(SMALL_VIT),
    'mmpretrain.DistilledVisionTransformer': dict(SMALL_VIT),
    'mmpretrain.ConvNeXt': dict(arch=dict(depths=[1, 2, 2, 1], channels=[4, 8, 8, 8]), out_indices=(0, 3)),
    'mmpretrain.ConvNeXt, maps': dict(
        arch=dict(depths=[1, 2, 2, 1], channels=[4, 8, 8, 8]), out_indices=(0, 3), gap_before_final_norm=False
    ),
    'mmpretrain.PoolFormer': dict(
        arch=dict(layers=[1, 2, 1, 1], embed_dims=[4, 8, 8, 8], mlp_ratios=[2] * 4, layer_scale_init_value=1e-5),
        in_patch_size=7,
        in_stride=4,
        in_pad=2,
        out_indices=(0, 6),
    ),
    'mmpretrain.RepVGG': dict(arch='A0'),
    'mmpretrain.T2T_ViT': dict(
        img_size=64, embed_dims=24, num_layers=3, layer_cfgs=dict(num_heads=2), t2t_cfg=dict(token_dims=8)
    ),
    'mmpretrain.MobileNetV3': dict(arch='small_050'),
    'mmpretrain.TIMMBackbone': dict(model_name='mobilenetv3_small_050', features_only=True, out_indices=(4,)),
    'mmdet.CSPDarknet': dict(deepen_factor=0.33, widen_factor=0.125, out_indices=(2, 3, 4)),
    'mmdet.CSPNeXt': dict(deepen_factor=0.17, widen_factor=0.125, out_indices=(2, 3, 4)),
    'mmdet.MobileNetV2': dict(widen_factor=0.25, out_indices=(1, 3, 7)),
    'mmdet.EfficientNet': dict(arch='b0', out_indices=(3, 4, 5)),
    'mmdet.SSDVGG': dict(depth=11, with_last_pool=False, ceil_mode=True, out_indices=(3,), out_feature_indices=(9, 19)),
    'mmseg.BiSeNetV2': dict(detail_channels=(8, 8, 16), semantic_channels=(8, 8, 8, 16), bga_channels=16),
    'mmseg.FastSCNN': dict(),
}
BACKBONES |= CHAINS
# As a model uses them: every output has a reader, and all that is trained is reached by a loss.
_LAST = {
    'mmdet.SwinTransformer': dict(SWIN, out_indices=(3,)),
    'mmpretrain.VAN': dict(BACKBONES['mmpretrain.VAN'], out_indices=(3,)),
    'mmpretrain.MViT': dict(BACKBONES['mmpretrain.MViT'], out_scales=[2]),
    'mmpretrain.Conformer': dict(CONFORMER),
    'mmseg.VisionTransformer': dict(SEG_VIT, final_norm=True),
    'mmseg.BEiT': dict(SEG_VIT, qv_bias=True),
    'mmdet.DetectoRS_ResNet': dict(depth=50, base_channels=8, out_indices=(3,), zero_init_residual=False),
    'mmdet.CSPDarknet': dict(deepen_factor=0.33, widen_factor=0.125, out_indices=(4,)),
}
BACKBONES |= {f'{name}, last output': options for name, options in _LAST.items()}
BACKBONES |= {
    'mmpretrain.ConvNeXt, last map': dict(BACKBONES['mmpretrain.ConvNeXt, maps'], out_indices=(3,)),
    'mmpretrain.SwinTransformer, vector': dict(arch=SWIN, pad_small_map=True),
    'mmpretrain.VisionTransformer, map to vector': dict(VIT, out_type='featmap'),
    'mmseg.BiSeNetV2, all outputs': dict(
        detail_channels=(8, 8, 16), semantic_channels=(8, 8, 8, 16), bga_channels=16, out_indices=(0, 1, 2, 3, 4)
    ),
}


def build_backbone(name: str) -> nn.Module:
    """Build one of ``BACKBONES``, whose toolboxes are registered."""
    kind = name.split(',')[0]
    with DefaultScope.overwrite_default_scope(kind.split('.')[0].replace('mmman', 'mmpretrain')):
        return MODELS.build(dict(type=kind, **BACKBONES[name]))
