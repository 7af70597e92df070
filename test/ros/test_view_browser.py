"""The page of `dysl view` in headless Chromium, on the demo as a user starts it.

``python -m pytest -m slow -s test/ros/test_view_browser.py`` prints the figures of the page: how
fast it loads, how often it is told, the command rate beside it, and the e-stop from the button to
a braking arm. ``DYSL_SCREENSHOT=doc/view.png`` keeps a picture.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import APT, Browser, browser_is_there
from conftest import DOMAIN, wait_for

pytest.importorskip('aiohttp', reason="python3 -m pip install 'aiohttp>=3.8,<4'")
pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.skipif(not browser_is_there(), reason=f'no browser: {APT}'),
    pytest.mark.timeout(580),
]
ROOT = Path(__file__).resolve().parents[2]
TRIES = int(os.environ.get('DYSL_TRIES', '50'))


class Listener:
    """State, command rate and commands of the node, with the time of each."""

    def __init__(self, graph: Any) -> None:
        from rclpy.node import Node
        from std_msgs.msg import Float64, String
        from trajectory_msgs.msg import JointTrajectory

        from dysl_vla_ros.ros import qos

        self.states: list[tuple[float, str]] = []
        self.rates: list[float] = []
        self.speeds: list[tuple[float, float]] = []
        node = graph.add(Node('listener', context=graph.context))
        listen = node.create_subscription
        listen(String, 'vla_node/state', self._on_state, qos.LATCHED)
        listen(Float64, 'vla_node/command_rate_hz', self._on_rate, qos.REPORT)
        listen(JointTrajectory, 'joint_trajectory', self._on_command, qos.REPORT)

    @property
    def state(self) -> str:
        return self.states[-1][1] if self.states else ''

    def _on_state(self, message: Any) -> None:
        self.states.append((time.time(), message.data))

    def _on_rate(self, message: Any) -> None:
        self.rates.append(message.data)

    def _on_command(self, message: Any) -> None:
        last = message.points[-1]
        length = last.time_from_start.sec + 1e-9 * last.time_from_start.nanosec
        self.speeds.append((time.time(), length))


@pytest.fixture
def address(request: Any) -> Iterator[str]:
    """Of the page beside a demo; 'fake' moves the arm to and fro for ever."""
    fake = getattr(request, 'param', '') == 'fake'
    more = ['--engine', 'fake', 'instruction:=go'] if fake else []
    demo = subprocess.Popen(
        [sys.executable, '-u', '-m', 'dysl_vla_ros.cli.main', 'demo', '--headless', '--view',
         '--domain-id', str(DOMAIN), *more],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert demo.stdout is not None
    said = []
    for line in demo.stdout:
        said.append(line)
        found = re.search(r'http://\S+', line)
        if found:
            break
    else:
        pytest.fail(''.join(said))
    yield found[0]
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)


def press(browser: Browser) -> float:
    """Press the e-stop as a finger does; the time of it on this machine's clock [s]."""
    return 1e-3 * float(browser.run(
        "const at = performance.timeOrigin + performance.now();"
        "document.getElementById('estop').dispatchEvent(new PointerEvent('pointerdown'));"
        "return at"
    ))  # fmt: skip


def ask(browser: Browser, button: str) -> None:
    browser.run(f'document.querySelector("button[data-do={button}]").click()')


def test_the_page_is_live_beside_a_node_that_keeps_its_rate(graph, address, tmp_path):
    heard = Listener(graph)
    with Browser(tmp_path / 'profile', (1280, 900)) as browser:
        loads = []
        for _ in range(3):
            browser.open(address)
            browser.wait('performance.getEntriesByType("navigation")[0].loadEventEnd')
            loads.append(browser.run(
                'return performance.getEntriesByType("navigation")[0].loadEventEnd'
            ))  # fmt: skip
        browser.wait('view.messages > 3 && view.pictures > 3')
        browser.wait('Charts.count() > 60', 200.0)
        assert browser.run('return Object.keys(Arm.frames()).length') > 6
        assert browser.run("return document.querySelectorAll('.joint').length") == 6
        began, before, rates = time.monotonic(), browser.run('return view'), len(heard.rates)
        time.sleep(15)
        seconds, after = time.monotonic() - began, browser.run('return view')
        assert after['frames'] > before['frames'] and after['pictures'] > before['pictures']
        keep = os.environ.get('DYSL_SCREENSHOT')
        browser.picture(Path(keep) if keep else tmp_path / 'view.png')
        assert browser.complaints() == []
    said({
        'page_load_ms': [round(value) for value in loads],
        'told_hz': round((after['messages'] - before['messages']) / seconds, 1),
        'pictures_hz': round((after['pictures'] - before['pictures']) / seconds, 1),
        'command_rate_hz_min': round(min(heard.rates[rates:], default=0.0), 1),
    })  # fmt: skip


@pytest.mark.parametrize('address', ['fake'], indirect=True)
def test_the_estop_of_the_page_brakes_a_moving_arm_every_time(graph, address, tmp_path):
    heard, delays = Listener(graph), []
    with Browser(tmp_path / 'profile') as browser:
        browser.open(address)
        browser.wait('view.messages > 3')
        wait_for(lambda: heard.state, 150.0, 'the node')
        while len(delays) < TRIES:
            wait_for(lambda: started(browser, heard), 60.0, said_by(browser, heard))
            time.sleep(random.uniform(0.3, 0.5))  # at no particular moment of the node
            at = press(browser)
            wait_for(lambda: heard.state == 'e-stop', what='an e-stop')
            # Said within the tick that brakes; the window of that tick arrives at the same time.
            seen = heard.states[-1][0]
            time.sleep(0.2)
            braking = [t for t, _ in heard.speeds if t >= seen - 0.01]
            if braking:  # else a starved machine had made it stale, and it was at rest before
                delays.append(max(braking[0], seen) - at)
                print(f'{1e3 * delays[-1]:.0f}', end=' ', flush=True)
            wait_for(lambda: released(browser, heard), what='a release')
    assert len(delays) == TRIES and min(delays) > 0
    said({
        'estop_ms_median': round(1e3 * statistics.median(delays)),
        'estop_ms_max': round(1e3 * max(delays)),
        'tries': len(delays),
    })  # fmt: skip


def said(figures: dict[str, Any]) -> None:
    load = [round(value, 1) for value in os.getloadavg()]
    print('\n' + json.dumps({**figures, 'load_average': load}))


def said_by(browser: Browser, heard: Listener) -> str:
    """For a failure: the newest answer and the newest events."""
    words = browser.run("return document.getElementById('said').textContent")
    events = browser.run("return document.getElementById('events').innerText.slice(0, 600)")
    return f'{heard.state}; {words}; {events}'


def started(browser: Browser, heard: Listener) -> bool:
    if heard.state == 'running':
        return True
    ask(browser, 'start')
    time.sleep(0.3)
    return heard.state == 'running'


def released(browser: Browser, heard: Listener) -> bool:
    ask(browser, 'release')
    until = time.monotonic() + 3.0
    while time.monotonic() < until and heard.state == 'e-stop':
        time.sleep(0.02)
    return heard.state != 'e-stop'


def test_without_the_token_the_buttons_are_dead(address, tmp_path):
    with Browser(tmp_path / 'profile') as browser:
        browser.open(address.split('?')[0])
        browser.wait('view.messages > 3')
        browser.wait("document.getElementById('link').textContent === 'live, read only'")
        assert browser.run("return document.getElementById('estop').disabled") is True
        press(browser)
        browser.wait("document.getElementById('said').textContent.includes('read only')")
