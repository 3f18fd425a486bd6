# SVHN, split 'train' alone (73,257 images), augmented as in the released code. The folder is the environment variable
# MMMAN_SVHN_ROOT, else data/svhn/; torchvision downloads what is missing.
data_root = '{{$MMMAN_SVHN_ROOT:data/svhn/}}'
data_preprocessor = dict(num_classes=10, mean=3 * [127.5], std=3 * [127.5], to_rgb=False)  # read as RGB
dataset = dict(type='SVHN', data_root=data_root, download=True)
train_dataloader = dict(
    batch_size=1024,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **dataset,
        split='train',
        pipeline=[dict(type='RandomCrop', crop_size=32, padding=2), dict(type='PackInputs')],
    ),
)
val_dataloader = dict(
    batch_size=1024,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='test', test_mode=True, pipeline=[dict(type='PackInputs')]),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=1)
test_evaluator = val_evaluator
