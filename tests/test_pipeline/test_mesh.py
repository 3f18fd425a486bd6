"""How processes and blocks are shared out."""

import pytest

from mmman.pipeline.mesh import default_stages, share_blocks


@pytest.mark.parametrize(
    ('num_blocks', 'processes', 'stages'),
    [(4, 1, 1), (4, 2, 2), (4, 4, 4), (4, 6, 3), (4, 8, 4), (4, 5, 1), (2, 4, 2), (3, 4, 2), (16, 8, 8)],
)
def test_the_longest_pipeline_that_fits_the_processes(num_blocks, processes, stages):
    assert default_stages(num_blocks, processes) == stages


@pytest.mark.parametrize(
    ('num_blocks', 'stages', 'per_stage', 'shares'),
    [
        (4, 4, None, [[1], [2], [3], [4]]),
        (4, 3, None, [[1], [2], [3, 4]]),
        (5, 2, None, [[1, 2], [3, 4, 5]]),
        (4, 2, [3, 1], [[1, 2, 3], [4]]),
        (4, 1, None, [[1, 2, 3, 4]]),
    ],
)
def test_every_block_has_one_stage(num_blocks, stages, per_stage, shares):
    assert [list(share) for share in share_blocks(num_blocks, stages, per_stage)] == shares


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((2, 4), '2 blocks cannot be shared out among 4 stages: set model_wrapper_cfg.num_stages to at most 2'),
        ((4, 2, [4, 0]), 'must be 2 positive numbers that add up to the 4 blocks'),
        ((4, 2, [1, 2, 1]), 'must be 2 positive numbers'),
    ],
)
def test_numbers_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        share_blocks(*arguments)
