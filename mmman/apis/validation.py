"""All that keeps a config from local learning, at once."""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmman.registry import MODELS
from mmman.toolboxes import toolbox_of

from .complete import complete_config
from .config_parts import NotLocalizableError, without_weights
from .localization import check_choices, check_training, ddp_options, wrap_backbone

CHOICES_OF_BACKBONE = frozenset(inspect.signature(wrap_backbone).parameters) - {'cfg'}


def validate(cfg: Config, **choices: Any) -> list[str]:
    """Find all reasons for which :func:`mmman.localize` or the start of training would refuse a config.

    The model is built with random weights, and it is asked whether its losses reach every block; no data are read, and
    nothing is trained.

    Args:
        cfg (Config): A config of mmdet, mmseg or mmpretrain, of text or lazy. It stays as it is.
        choices: Arguments of :func:`mmman.localize`.

    Returns:
        list[str]: The reasons, each one line with the next thing to try; empty if there is none.
    """
    problems: list[str] = []

    def attempt(step: Callable[[], Any]) -> Any:
        try:
            return step()
        except (NotLocalizableError, ValueError, TypeError) as error:
            problems.append(' '.join(str(error).split()))
            return None

    attempt(lambda: check_choices(choices))
    attempt(lambda: ddp_options(cfg))
    found = len(problems)
    attempt(lambda: check_training(cfg))
    trains = len(problems) == found
    known = {name: value for name, value in choices.items() if name in CHOICES_OF_BACKBONE}
    local = attempt(lambda: wrap_backbone(cfg, **known))
    if local is not None and trains:
        attempt(lambda: _check_model(local))
    return problems


def _check_model(cfg: Config) -> None:
    """Build the model and its optimizers, which look at necks, heads, classes and parameters."""
    settings: Mapping[str, Any] = copy.deepcopy(complete_config(cfg).optim_wrapper)
    with DefaultScope.overwrite_default_scope(toolbox_of(cfg)):
        build_optim_wrapper(MODELS.build(without_weights(cfg.model)), settings)
