# ResNet-32 on SVHN, end to end (paper, Table I). Twin: resnet32_dgl_manpp_k16_svhn.py
_base_ = [
    '../_base_/models/small_resnet32.py',
    '../_base_/datasets/svhn.py',
    '../_base_/schedules/small_images_400e.py',
    '../_base_/classification_runtime.py',
]
custom_imports = dict(imports=['mmman.classification'], allow_failed_imports=False)
