#!/usr/bin/env python
"""How well a linear classifier on each block's output does: fitted on the training split, evaluated on the test split.

For classifiers, and by pixel for segmentors; not for detectors. Draws the config's metrics, and writes them as JSON.
"""

from mmman.probing.linear_probe import probe_blocks
from mmman.probing.metrics_of_blocks import main

if __name__ == '__main__':
    main(
        __doc__,
        probe_blocks,
        'Linear probe on the output of each block',
        splits=('train', 'test'),
        config_help='the config file; of an end-to-end model, the stages are probed',
    )
