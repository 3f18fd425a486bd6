"""A whole run of a tiny detector through mmengine's Runner, on a few photos of a folder in COCO's layout."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmman.testing.detection import tiny_retinanet


def tiny_run_cfg(
    num_blocks: int | None,
    work_dir: Path,
    data_root: Path,
    max_iters: int = 7,
    classes: tuple[str, ...] = (),
    **cfg: Any,
) -> Config:
    """Config of a run: batches of 2 photos of 96 x 72 pixels without random augmentation, SGD, no validation.

    Args:
        num_blocks (int, optional): K; None for the plain mmdet model.
        work_dir (Path): Where the run writes.
        data_root (Path): Folder with ``annotations/`` and ``train2017/``.
        max_iters (int): Iterations. Defaults to 7.
        classes (tuple[str, ...]): Names of the three classes.
        **cfg: Top-level entries to merge into the config.

    Returns:
        Config: The config, for ``Runner.from_cfg``.
    """
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(96, 72), keep_ratio=True),
        dict(type='PackDetInputs'),
    ]
    dataset = dict(
        type='CocoDataset',
        data_root=str(data_root),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=classes),
        pipeline=pipeline,
        indices=16,
    )
    base = Config(
        dict(
            default_scope='mmdet',
            model=tiny_retinanet(num_blocks),
            work_dir=str(work_dir),
            train_dataloader=dict(batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'), dataset=dataset),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10**6),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)),
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=max_iters),
            ),
            log_processor=dict(type='LogProcessor', by_epoch=False),
            randomness=dict(seed=0, deterministic=False),
            log_level='WARNING',
        )
    )
    if num_blocks is not None:
        base.optim_wrapper.constructor = 'mmman.LocalOptimWrapperConstructor'
        base.custom_hooks = [dict(type='mmman.LocalLossHook')]
    base.merge_from_dict(cfg)
    return base


def run(cfg: Config) -> Runner:
    """Train; returns the runner as it was at the end."""
    # Runners of one process share loggers and message hubs by name.
    cfg.experiment_name = f'{Path(cfg.work_dir).name}_{id(cfg)}'
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner
