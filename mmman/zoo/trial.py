"""Which of the configs that the toolboxes ship train in blocks: each is localised, trained for a step, and predicts."""

import gc
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmman.apis.config_parts import NotLocalizableError, find_backbone
from mmman.apis.launch import config_file
from mmman.apis.localization import localize
from mmman.toolboxes import register_toolbox, toolbox_of, type_name

from .one_step import train_blocks, train_whole

# Of the images: some models pool over more than small ones have.
SCALES = dict(mmdet=(1, 3), mmseg=(1, 3, 8), mmpretrain=(1, 3))
NO_MATTER_OF_SIZE = (AttributeError, TypeError, KeyError)  # of images: they help no model that fails by these
ONE_SIZE = 'BEiT'  # has a table of relative positions for images of one size, in mmseg of up to 640 pixels
SMALL_SIZE = (160, 160)
OWN = ('out_indices', 'frozen_stages', 'in_channels')  # of the backbone
# Not what a model is, but how large it is, or where its weights come from.
SIZES = frozenset(['init_cfg', 'pretrained', 'data_preprocessor', 'test_cfg'])


@dataclass
class Outcome:
    """What became of one config.

    Args:
        toolbox (str): The toolbox that ships it.
        config (str): Its path in the toolbox's folder of configs.
        status (str): ``'trained'``, in two blocks or more; ``'refused'``; ``'failed'``, an error that names no reason.
        model (str): Type of the model.
        backbone (str): Type of the backbone.
        reason (str): Why not.
        num_blocks (int): K.
        family (str): The family that took the backbone apart.
        local_head (str): The head in the local heads.
    """

    toolbox: str
    config: str
    status: str = ''
    model: str = ''
    backbone: str = ''
    reason: str = ''
    num_blocks: int = 0
    family: str = ''
    local_head: str = ''


def list_configs(toolbox: str) -> list[Path]:
    """The configs that a toolbox ships, without those that are only inherited from, relative to their folder."""
    folder = folder_of(toolbox)
    found = sorted(path.relative_to(folder) for path in folder.rglob('*.py'))
    return [path for path in found if '_base_' not in path.parts]


def folder_of(toolbox: str) -> Path:
    """The folder of the configs that a toolbox ships."""
    return Path(config_file(f'{toolbox}::'))


def signature(cfg: Config) -> str:
    """What configs have in common that differ in sizes only: types of all parts, outputs and frozen stages."""
    model = cfg.model
    backbone = model.get('backbone') or {}
    own = [str(backbone.get(key)) for key in OWN] if isinstance(backbone, Mapping) else []
    return json.dumps([_types(model), *own], sort_keys=True)


def _types(part: Any) -> Any:
    if isinstance(part, Mapping):
        found = {key: _types(value) for key, value in part.items() if key not in SIZES and key != 'type'}
        found = {key: value for key, value in found.items() if value}
        return {**found, 'type': type_name(part['type'])} if part.get('type') is not None else found
    if isinstance(part, (list, tuple)):
        return [types for types in map(_types, part) if types]
    return None


def try_config(toolbox: str, config: str) -> Outcome:
    """Localise a config, train a step in which every block has to learn, and predict.

    What fails is tried end to end as well, and both on larger images, before it counts as a failure of local learning.

    Args:
        toolbox (str): The toolbox that ships it.
        config (str): Its path there.
    """
    outcome = Outcome(toolbox, config)
    try:
        cfg = Config.fromfile(folder_of(toolbox) / config)
    except Exception as error:
        return _ended(outcome, 'refused', f'the file does not load: {_one_line(error)}')
    scope = toolbox_of(cfg)
    register_toolbox(scope)
    outcome.model = type_name(cfg.model.get('type'))
    try:
        holder, key = find_backbone(cfg.model)
        outcome.backbone = type_name(holder[key]['type'])
        if outcome.backbone == ONE_SIZE and 'img_size' in holder[key]:
            holder[key]['img_size'] = SMALL_SIZE
        with DefaultScope.overwrite_default_scope(scope):
            local = localize(cfg)
    except NotLocalizableError as error:
        return _ended(outcome, 'refused', _one_line(error))
    with DefaultScope.overwrite_default_scope(scope):
        broken = ''
        for scale in SCALES[toolbox]:
            try:
                made = train_blocks(local, scale)
            except Exception as error:
                if _says_why(error):
                    return _ended(outcome, 'refused', _one_line(error))
                end_to_end = _error_of_stock(cfg, scale)
                if isinstance(end_to_end, NO_MATTER_OF_SIZE):
                    break
                if end_to_end is None:
                    broken = f'{type(error).__name__}: {_one_line(error)}'
                gc.collect()
            else:
                outcome.num_blocks, outcome.family, outcome.local_head = made
                return _ended(outcome, 'trained', '')
    if broken:
        return _ended(outcome, 'failed', broken)
    return _ended(outcome, 'refused', f'it does not train here end to end either: {_one_line(end_to_end)}')


def _says_why(error: Exception) -> bool:
    """Whether mmman itself refused, and not something inside of it broke."""
    place = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    package = Path(__file__).parents[1]
    return place.is_relative_to(package) and not place.is_relative_to(package / 'zoo')


def _error_of_stock(cfg: Config, scale: int) -> Exception | None:
    """What stops a config end to end; None if nothing does."""
    try:
        train_whole(cfg, scale)
    except Exception as error:
        return error
    return None


def _ended(outcome: Outcome, status: str, reason: str) -> Outcome:
    outcome.status, outcome.reason = status, reason
    return outcome


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split())[:400] or type(error).__name__
