# The same training with its two blocks on two GPUs (the paper's PPLL):
#   bash tools/dist_train.sh configs/pipeline/deeplabv3_r50_manpp_pipeline_cityscapes.py 2
# Batch and learning rate are those of one GPU. On four there are two pipelines, each with such a batch.
_base_ = '../deeplabv3_r50_manpp_cityscapes.py'
model_wrapper_cfg = dict(type='mmman.PipelineParallel')
train_cfg = dict(type='mmman.PipelineIterBasedTrainLoop')
default_hooks = dict(checkpoint=dict(type='mmman.PipelineCheckpointHook'))
