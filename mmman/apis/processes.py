"""Joining the processes that a launcher started."""

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist


def join_processes(cfg: Config) -> None:
    """Join the processes that torchrun started, on a machine without an accelerator by gloo.

    Args:
        cfg (Config): A config; ``launcher`` says who started the processes.
    """
    if cfg.get('launcher') != 'pytorch' or dist.is_initialized():
        return
    if get_device() == 'cpu':
        # mmengine's launcher asks for a GPU before anything else, whichever backend the config names.
        dist.init_process_group('gloo')
    else:
        init_dist('pytorch', **cfg.env_cfg.get('dist_cfg', {}))
