"""Keys of the demo: what each asks for, and a line that is typed."""

from __future__ import annotations

import pytest

from dysl_vla_ros.data_types import SKIP_MODES
from dysl_vla_ros.demo.keys import MODES, Operator, Wish


def pressed(keys, state='running', mode='auto', seed=7, operator=None):
    return (operator or Operator()).press(keys, state, mode, seed)


@pytest.mark.parametrize(('key', 'wish'), [
    ('q', Wish('quit')),
    ('p', Wish('pause', True)),
    ('n', Wish('scene', 8)),
    ('s', Wish('start')),
    ('m', Wish('mode', 'full')),
])  # fmt: skip
def test_each_key_asks_for_one_thing(key, wish):
    assert pressed(key) == [wish]


def test_pause_resumes_what_is_paused():
    assert pressed('p', state='paused') == [Wish('pause', False)]


def test_the_mode_key_goes_round_through_every_mode():
    assert tuple(mode for mode in SKIP_MODES if mode != 'by_instruction') == MODES
    seen, mode = [], 'auto'
    for _ in MODES:
        (wish,) = pressed('m', mode=mode)
        mode = wish.value
        seen.append(mode)
    assert sorted(seen) == sorted(MODES) and seen[-1] == 'auto'


def test_a_line_is_typed_and_sent_with_enter_and_its_letters_are_no_keys():
    operator = Operator()
    assert pressed('iput q and p', operator=operator) == []
    assert operator.typed == 'put q and p'
    assert pressed('\x7fn\rq', operator=operator) == [
        Wish('instruct', 'put q and n'), Wish('quit')
    ]  # fmt: skip
    assert operator.typed is None


@pytest.mark.parametrize('keys', ['iabc\x1b', 'i\r', 'i   \n'])
def test_escape_or_an_empty_line_asks_for_nothing(keys):
    operator = Operator()
    assert pressed(keys, operator=operator) == [] and operator.typed is None
    assert pressed('q', operator=operator) == [Wish('quit')]


def test_other_keys_and_a_line_without_end_do_no_harm():
    operator = Operator()
    assert pressed('xyz\t\x00', operator=operator) == []
    assert pressed('i' + 'a' * 5000, operator=operator) == [] and len(operator.typed) == 200


def test_a_mode_that_was_refused_is_left_out_until_the_mode_has_changed():
    operator = Operator()
    assert pressed('m', mode='max_skip', operator=operator) == [Wish('mode', 'fixed')]
    operator.answered(Wish('mode', 'fixed'), False, 'skip.exit_layer = 0')
    assert operator.said == 'refused: skip.exit_layer = 0'
    assert pressed('m', mode='max_skip', operator=operator) == [Wish('mode', 'compare')]
    assert pressed('m', mode='compare', operator=operator) == [Wish('mode', 'auto')]
    assert pressed('m', mode='max_skip', operator=operator) == [Wish('mode', 'fixed')]


def test_what_was_told_is_said_to_be_done_or_not_when_its_own_episode_ends():
    operator = Operator()
    operator.judged('push it', True)
    assert operator.said == ''
    operator.answered(Wish('instruct', 'lift it'), True, 'follows')
    operator.judged('push it', True)  # the one before
    assert operator.said == 'follows'
    operator.judged('lift it', False)
    assert operator.said.startswith('lift it: not done')
    operator.said = ''
    operator.judged('lift it', True)
    assert operator.said == ''


def test_an_empty_line_is_said_to_tell_nothing():
    operator = Operator()
    pressed('i \r', operator=operator)
    assert operator.said == 'nothing typed: nothing told'
