"""A sample of the configs that the toolboxes ship, over families and kinds of model: each trains in blocks."""

import logging

import pytest
from mmengine.config import Config

from mmman.zoo.coverage import write_report
from mmman.zoo.trial import Outcome, folder_of, list_configs, signature, try_config

SAMPLE = {
    'mmdet': [
        'centernet/centernet_r18_8xb16-crop512-140e_coco.py',
        'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
        'convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
        'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
        'detr/detr_r50_8xb2-150e_coco.py',
        'htc/htc_r50_fpn_1x_coco.py',
        'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
        'foveabox/fovea_r50_fpn_4xb4-1x_coco.py',
        'hrnet/fcos_hrnetv2p-w18-gn-head_4xb4-1x_coco.py',
        'masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py',
        'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        'pvt/retinanet_pvtv2-b0_fpn_1x_coco.py',
        'reid/reid_r50_8xb32-6e_mot15train80_test-mot15val20.py',
        'retinanet/retinanet_r18_fpn_1x_coco.py',
        'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
        'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
        'solov2/solov2-light_r18_fpn_ms-3x_coco.py',
        'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        'yolact/yolact_r50_1xb8-55e_coco.py',
        'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py',
        'yolox/yolox_tiny_8xb8-300e_coco.py',
    ],
    'mmseg': [
        'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py',
        'deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        'hrnet/fcn_hr18s_4xb2-40k_cityscapes-512x1024.py',
        'icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832.py',
        'ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py',
        'point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        'unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py',
    ],
    'mmpretrain': [
        'conformer/conformer-tiny-p16_8xb128_in1k.py',
        'convnext/convnext-tiny_32xb128_in1k.py',
        'deit/deit-tiny_4xb256_in1k.py',
        'efficientnet/efficientnet-b0_8xb32_in1k.py',
        'mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py',
        'poolformer/poolformer-s12_32xb128_in1k.py',
        'repvgg/repvgg-A0_8xb32_in1k.py',
        'resnet/resnet18_8xb32_in1k.py',
        'swin_transformer/swin-tiny_16xb64_in1k.py',
        'vgg/vgg11_8xb32_in1k.py',
    ],
}


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(('toolbox', 'config'), [(key, config) for key in SAMPLE for config in SAMPLE[key]])
def test_a_config_that_a_toolbox_ships_trains_in_blocks_and_predicts(toolbox, config):
    outcome = try_config(toolbox, config)
    assert (outcome.status, outcome.reason) == ('trained', '')
    assert outcome.num_blocks >= 2 and outcome.family.endswith('Family') and outcome.local_head.endswith('Head')


@pytest.mark.parametrize(
    ('toolbox', 'config', 'reason'),
    [
        ('mmseg', 'cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py', 'cannot be cut into blocks'),
        ('mmpretrain', 'barlowtwins/barlowtwins_resnet50_8xb256-coslr-300e_in1k.py', 'learns without labels'),
    ],
)
def test_what_cannot_be_trained_says_why(toolbox, config, reason):
    outcome = try_config(toolbox, config)
    assert outcome.status == 'refused' and reason in outcome.reason


def test_configs_of_one_kind_have_one_signature():
    def of(name):
        return signature(Config.fromfile(folder_of('mmdet') / name))

    assert of('retinanet/retinanet_r18_fpn_1x_coco.py') != of('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py')
    assert of('retinanet/retinanet_r50_fpn_1x_coco.py') == of('retinanet/retinanet_r101_fpn_2x_coco.py')


def test_bases_are_no_configs_of_their_own():
    configs = list_configs('mmdet')
    assert len(configs) > 700 and not [path for path in configs if '_base_' in path.parts]


def test_the_report_counts_and_names_reasons():
    report = write_report(
        [
            Outcome('mmdet', 'a/b.py', 'trained', 'RetinaNet', 'ResNet', '', 4, 'ResNetFamily', 'RetinaHead'),
            Outcome('mmdet', 'a/c.py', 'refused', 'RetinaNet', 'CGNet', 'CGNet | no'),
            Outcome('mmseg', 'd/e.py', 'failed', 'X', 'Y', 'KeyError: 1'),
        ]
    )
    assert '| mmdet | 2 | 1 (50.0 %) | 1 | 0 |' in report and '| all | 3 | 1 (33.3 %) | 1 | 1 |' in report
    assert r'| CGNet \| no | 1 | `mmdet::a/c.py` |' in report
    assert '| mmdet::a | 1 of 2 | ResNet | RetinaHead |' in report
