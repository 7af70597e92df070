"""Bad links in simulated time: what is asked for is what the policy feels."""

from __future__ import annotations

import pytest

from dysl_vla_ros.errors import ConfigError, LinkError
from dysl_vla_ros.lab.evaluation.link_weather import Weather, WeatherLink
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions


class Good:
    """A link over which everything comes at once."""

    address = type('A', (), {'url': 'ws://here'})

    def __init__(self):
        self.asked = 0

    def ask(self, request, deadline_s):
        self.asked += 1
        return {'actions': []}

    def report(self):
        return {'state': 'connected'}


def played(text, requests=400, deadline=1.0, now=lambda: 0.0):
    good = Good()
    link = WeatherLink(good, Weather.read(text), 1, now)
    taken, lost = [], 0
    for _ in range(requests):
        try:
            link.ask({}, deadline)
        except LinkError:
            lost += 1
        taken.append(link.take())
    assert lost == link.lost == requests - good.asked
    return taken, lost


def test_a_delay_is_added_to_each_answer_and_taken_once():
    taken, lost = played('0.3', 5)
    assert (taken, lost) == ([0.3] * 5, 0)


def test_a_share_of_the_requests_costs_the_whole_deadline():
    taken, lost = played('0.1,unanswered=0.05')
    assert 8 <= lost <= 36
    assert sorted(set(taken)) == [0.1, 1.0]


def test_a_cut_connection_costs_one_more_try_and_seldom_the_answer():
    taken, lost = played('0.1,cut=0.05')
    assert lost <= 4
    assert taken.count(0.2) >= 8


def test_an_answer_later_than_the_deadline_is_lost():
    taken, lost = played('0.8', 3, deadline=0.4)
    assert (taken, lost) == ([0.4] * 3, 3)


def test_from_a_moment_on_nothing_gets_through():
    now = [2.9]
    link = WeatherLink(Good(), Weather.read('0,down=3'), 1, lambda: now[0])
    assert link.up
    link.ask({}, 1.0)
    now[0] = 3.0
    assert not link.up
    assert str(link.report()['state']).startswith('down')
    with pytest.raises(LinkError):
        link.ask({}, 1.0)


@pytest.mark.parametrize('text', ['', 'x', '-1', '11', '0.1,lost=0.5', '0.1,cut=2', '0.1,0.2',
                                  'cut=nan', '0,down=-1'])  # fmt: skip
def test_what_is_no_weather_is_refused(text):
    with pytest.raises(ConfigError, match='links'):
        Weather.read(text)


@pytest.mark.parametrize(
    ('options', 'field'),
    [
        ({'modes': ('remote',), 'latency': 0.02}, 'links'),
        ({'modes': ('full',), 'links': ('0.1',)}, 'links'),
        ({'modes': ('verified',), 'links': ('0.1',)}, 'latency'),
        ({'modes': ('remote',), 'links': ('fog',), 'latency': 0.0}, 'links'),
    ],
)
def test_links_go_with_their_modes_and_with_a_latency_that_is_given(options, field):
    with pytest.raises(ConfigError) as found:
        EvaluateOptions(**options)
    assert found.value.field == field
