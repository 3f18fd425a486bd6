"""mmengine's runner for configs of local learning, which turns any config into one, or fills in what they all say."""

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from mmman.registry import RUNNERS

from .complete import complete_config
from .config_parts import is_local
from .localization import check_choices, localize
from .processes import join_processes


@RUNNERS.register_module()
class LocalRunner(Runner):
    """mmengine's ``Runner``, which trains any config in blocks.

    A config names it by ``runner_type = 'mmman.LocalRunner'``, which the train and test scripts of mmdet, mmseg and
    mmpretrain honour. With a stock model it says how by ``local_learning = dict(num_blocks=4)``, the arguments of
    :func:`mmman.apis.localize`; a model that has its ``mmman.LocalBackbone`` already stays as it is. What is filled in
    then: see :func:`complete_config`. The config that it writes into the work dir has it all, and trains with
    mmengine's own ``Runner``, too.
    """

    @classmethod
    def from_cfg(cls, cfg: Config | ConfigDict) -> 'LocalRunner':
        """Build the runner from a config; see ``Runner.from_cfg``.

        Raises:
            NotLocalizableError: If ``local_learning`` does not fit the model, or has an unknown key.
        """
        # The toolboxes' scripts leave this to mmengine, which wants a GPU for it.
        join_processes(cfg)
        return super().from_cfg(prepare_config(cfg))


def prepare_config(cfg: Config | ConfigDict) -> Config | ConfigDict:
    """What :class:`LocalRunner` trains, for a config that names it.

    Args:
        cfg (Config | ConfigDict): The config; it stays as it is.

    Returns:
        Config | ConfigDict: A complete config.

    Raises:
        NotLocalizableError: If ``local_learning`` has an unknown key, or does not fit the model.
    """
    options = cfg.get('local_learning')
    # Base configs have dicts under this name, which others copy into their backbone.
    if options is None or is_local(cfg.get('model')):
        return complete_config(cfg)
    check_choices(options)
    return localize(cfg, **options)
