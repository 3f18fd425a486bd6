# The same training with its 16 blocks shared out among the GPUs (the paper's PPLL), eight each on two:
#   bash tools/dist_train.sh configs/pipeline/resnet32_dgl_manpp_k16_pipeline_cifar10.py 2
# Batch, learning rate and result are those of one GPU.
_base_ = '../classification/resnet32_dgl_manpp_k16_cifar10.py'
model_wrapper_cfg = dict(type='mmman.PipelineParallel')
train_cfg = dict(type='mmman.PipelineEpochBasedTrainLoop')
default_hooks = dict(checkpoint=dict(type='mmman.PipelineCheckpointHook'))
