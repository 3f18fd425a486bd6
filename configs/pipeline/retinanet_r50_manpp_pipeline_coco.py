# The same training with its four blocks on four GPUs (the paper's PPLL), or two and two on two GPUs:
#   bash tools/dist_train.sh configs/pipeline/retinanet_r50_manpp_pipeline_coco.py 4
# Batch, learning rate and result are those of one GPU. On eight there are two pipelines, each with such a batch.
_base_ = '../retinanet_r50_manpp_coco.py'
model_wrapper_cfg = dict(type='mmman.PipelineParallel')
train_cfg = dict(type='mmman.PipelineIterBasedTrainLoop')
default_hooks = dict(checkpoint=dict(type='mmman.PipelineCheckpointHook'))
