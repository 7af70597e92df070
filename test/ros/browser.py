"""Headless Chromium over the WebDriver protocol, which is JSON over HTTP: no library is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

APT = 'apt install chromium chromium-driver'


def browser_is_there() -> bool:
    return bool(shutil.which('chromedriver') and shutil.which('chromium'))


class Browser:
    """One window; a context manager."""

    def __init__(self, folder: Path, size: tuple[int, int] = (1280, 860)) -> None:
        self._folder = folder
        self._size = size

    def __enter__(self) -> Browser:
        self._driver = subprocess.Popen(
            ['chromedriver', '--port=0'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if 'successfully on port' in line:
                self._at = f'http://127.0.0.1:{line.split()[-1].rstrip(".")}/session'
                break
        words = [
            '--headless=new', '--disable-gpu', f'--window-size={self._size[0]},{self._size[1]}',
            f'--user-data-dir={self._folder}', '--hide-scrollbars', '--no-first-run',
        ]  # fmt: skip
        if os.geteuid() == 0:
            words.append('--no-sandbox')
        wanted = {'browserName': 'chrome', 'goog:chromeOptions': {'args': words},
                  'goog:loggingPrefs': {'browser': 'ALL'}}  # fmt: skip
        answer = self._send('POST', '', {'capabilities': {'alwaysMatch': wanted}})
        self._at += '/' + answer['sessionId']
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._send('DELETE', '')
        finally:
            self._driver.terminate()
            self._driver.wait(10)

    def open(self, address: str) -> None:
        self._send('POST', '/url', {'url': address})

    def run(self, script: str, *arguments: Any) -> Any:
        return self._send('POST', '/execute/sync', {'script': script, 'args': list(arguments)})

    def wait(self, condition: str, timeout: float = 40.0) -> Any:
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            value = self.run(f'return {condition}')
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f'not within {timeout} s: {condition}; {self.complaints()}')

    def complaints(self) -> list[str]:
        """What the browser's console says against the page."""
        lines = self._send('POST', '/se/log', {'type': 'browser'})
        return [line['message'] for line in lines if line['level'] in ('SEVERE', 'WARNING')]

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._send('GET', '/screenshot')))

    def _send(self, verb: str, path: str, body: Any = None) -> Any:
        data = None if verb == 'GET' or verb == 'DELETE' else json.dumps(body).encode()
        request = urllib.request.Request(
            self._at + path, data, {'Content-Type': 'application/json'}, method=verb
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)['value']
