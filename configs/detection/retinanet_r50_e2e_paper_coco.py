# RetinaNet-R50 on COCO, end to end, from scratch, in the paper's recipe: Adam, batch 64, 100 epochs (paper, section on
# detection; learning rate ours, see the schedule). Twin: retinanet_r50_manpp_paper_coco.py
_base_ = [
    '../_base_/models/retinanet_r50.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_paper_100e.py',
    '../_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=64, sampler=dict(type='DefaultSampler'))
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=5))
log_processor = dict(by_epoch=True)
