"""A dict that knows which of its keys were asked for."""

import copy

import pytest

from mmman.optim.asked_keys import AskedKeys

ENTRIES = dict(rate=0.5, layers=3)


@pytest.mark.parametrize(
    'ask',
    [
        lambda keys: keys['rate'],
        lambda keys: keys.rate,
        lambda keys: keys.get('rate'),
        lambda keys: keys.get('rate', 1),
        lambda keys: keys.pop('rate'),
        lambda keys: keys.setdefault('rate', 1),
    ],
)
def test_one_key_is_asked_for(ask):
    keys = AskedKeys(ENTRIES)
    assert ask(keys) == 0.5
    assert keys.asked == {'rate': 1}


def test_looking_for_a_key_asks_for_it():
    keys = AskedKeys(ENTRIES)
    assert 'rate' in keys and 'other' not in keys
    assert keys.asked == {'rate': 1, 'other': 1}


@pytest.mark.parametrize(
    'take',
    [
        dict,
        copy.copy,
        copy.deepcopy,
        lambda keys: keys.copy(),
        lambda keys: {**keys},
        lambda keys: keys | {},
        lambda keys: {key: keys[key] for key in keys},
        lambda keys: dict(keys.items()),
        lambda keys: dict(zip(keys.keys(), keys.values(), strict=True)),
    ],
)
def test_whoever_takes_all_may_read_all(take):
    keys = AskedKeys(ENTRIES)
    assert take(keys) == ENTRIES
    assert set(keys.asked) == set(ENTRIES)


def test_printing_and_changing_ask_for_nothing():
    keys = AskedKeys(ENTRIES)
    assert f'{keys}' == f'{ENTRIES}' and keys and len(keys) == 2 and isinstance(keys, dict)
    keys.update(more=1)
    keys['rate'] = 1
    assert not keys.asked
    with pytest.raises(AttributeError, match='no entry'):
        keys.nothing  # noqa: B018
