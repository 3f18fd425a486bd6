import pytest

from mmman.partition import Segment, make_blocks, merge_frozen

UNITS = dict(layer1=2, layer2=3, layer3=4, layer4=2)
SEGMENTS = [Segment('stem', 'layer1', ('conv1',))] + [
    Segment(f'{stage}.{i}', stage, (f'{stage}.{i}',)) for stage, n in UNITS.items() for i in range(n)
]


def ends(**partition):
    return [block.segments[-1].name for block in make_blocks(SEGMENTS, **partition)]


@pytest.mark.parametrize(
    ('partition', 'expected'),
    [
        (dict(num_blocks=1), ['layer4.1']),
        (dict(num_blocks=2), ['layer2.2', 'layer4.1']),
        (dict(num_blocks=3), ['layer2.2', 'layer3.3', 'layer4.1']),
        (dict(num_blocks=4), ['layer1.1', 'layer2.2', 'layer3.3', 'layer4.1']),
        (dict(num_blocks=5, by='unit'), ['layer1.1', 'layer2.2', 'layer3.1', 'layer3.3', 'layer4.1']),
        (dict(num_blocks=12, by='unit'), [segment.name for segment in SEGMENTS]),
        (dict(ends=['layer3.1']), ['layer3.1', 'layer4.1']),
        (dict(ends=['stem', 'layer2', 'layer3.0']), ['stem', 'layer2.2', 'layer3.0', 'layer4.1']),
        (dict(ends=['layer2'], num_blocks=2), ['layer2.2', 'layer4.1']),
        (dict(ends=[]), ['layer4.1']),
    ],
)
def test_blocks_end_where_asked(partition, expected):
    assert ends(**partition) == expected


def test_blocks_hold_every_segment_once_in_order():
    for partition in (dict(num_blocks=4), dict(num_blocks=7, by='unit'), dict(ends=['layer1.0', 'layer3'])):
        blocks = make_blocks(SEGMENTS, **partition)
        assert [s for block in blocks for s in block.segments] == SEGMENTS
        assert [block.index for block in blocks] == list(range(1, len(blocks) + 1))


@pytest.mark.parametrize(
    ('frozen', 'expected'),
    [
        ((), ['layer1.1', 'layer2.2', 'layer3.3', 'layer4.1']),
        (('layer1',), ['layer2.2', 'layer3.3', 'layer4.1']),
        (('layer1', 'layer2', 'layer3'), ['layer4.1']),
        (('layer1', 'layer2', 'layer3', 'layer4'), ['layer4.1']),
    ],
)
def test_frozen_blocks_are_merged_into_the_next(frozen, expected):
    blocks = merge_frozen(make_blocks(SEGMENTS, num_blocks=4), lambda segment: segment.stage not in frozen)
    assert [block.segments[-1].name for block in blocks] == expected
    assert [s for block in blocks for s in block.segments] == SEGMENTS
    assert [block.index for block in blocks] == list(range(1, len(blocks) + 1))


def test_a_block_says_what_it_holds():
    assert str(make_blocks(SEGMENTS, num_blocks=4)[1]) == 'block 2 (layer2.0 to layer2.2)'
    assert str(make_blocks(SEGMENTS, ends=['stem'])[0]) == 'block 1 (stem)'
