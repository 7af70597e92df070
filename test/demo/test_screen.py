"""What a demo without a live screen says."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from dysl_vla_ros.demo.figures import COMMANDS, Picture
from dysl_vla_ros.demo.screen import Screen


@pytest.fixture
def said():
    """``said(at, state, reason)``: all that was printed by then."""
    out, picture = io.StringIO(), Picture()
    watch = SimpleNamespace(picture=picture, requests=None, spin=lambda seconds: None)
    screen = Screen(Console(file=out, width=200), watch, headless=True)

    def show(at, state, reason):
        picture.values[COMMANDS] = {'state': state, 'hold_reason': reason}
        screen.show(at)
        return out.getvalue().splitlines()

    return show


def test_without_a_screen_a_wait_is_told_with_its_reason_once_it_lasts_and_when_it_changes(said):
    assert said(1.0, 'waiting', 'image: nothing received yet, 1.0 s') == []
    assert said(3.0, 'waiting', 'image: nothing received yet, 3.0 s') == []
    told = ['7 s  waiting: image: nothing received yet, 7.0 s']
    assert said(7.0, 'waiting', 'image: nothing received yet, 7.0 s') == told
    assert said(30.0, 'waiting', 'image: nothing received yet, 30.0 s') == told
    assert said(31.0, 'waiting', 'no joint_states') == told
    told.append('36 s  waiting: no joint_states')
    assert said(36.0, 'waiting', 'no joint_states') == told


def test_a_demo_that_runs_says_nothing_and_a_short_wait_is_not_told(said):
    assert said(1.0, 'running', 'n/a') == []
    assert said(9.0, 'running', 'n/a') == []
    assert said(10.0, 'ready', 'n/a') == []
    assert said(12.0, 'running', 'n/a') == []
    assert said(18.0, 'holding', 'no chunk') == []
