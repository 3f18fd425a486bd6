#!/usr/bin/env python
"""What each block's own local head scores on the test data, by the config's metrics: accuracy, mIoU or mAP.

The last block's is the model's. Draws the metrics, and writes them as JSON.
"""

from mmman.probing.local_head_scores import score_local_heads
from mmman.probing.metrics_of_blocks import main

if __name__ == '__main__':
    main(
        __doc__,
        score_local_heads,
        "Each block's own local head",
        config_help='a config of local learning',
        checkpoint_help='a checkpoint that training wrote',
    )
