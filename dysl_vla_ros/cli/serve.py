"""``dysl serve``: a bundle, or a folder that was never exported, as a policy server."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.no_files import with_weights
from dysl_vla_ros.cli.checkpoints import add_checkpoint_options, open_in_torch
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.values import COUNT, COUNT_FROM_0, POSITIVE, WORKERS, add_backend, whole
from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.engines.fake.arm import is_fake_path
from dysl_vla_ros.errors import ConfigError, EngineError
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.policy import Policy, load_tokenizer, open_policy

if TYPE_CHECKING:
    from dysl_vla_ros.serving.server import PolicyServer

_MOST_THREADS = 64

EXAMPLE = 'dysl serve runs/bundle --port 8000'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('target', nargs='?', default='', metavar='BUNDLE|FOLDER',
                        help='a bundle; or a published folder or a checkpoint, which runs in '
                        'torch; default: the bundled model')  # fmt: skip
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen on; 0.0.0.0 lets other machines in')  # fmt: skip
    parser.add_argument('--port', type=whole(0, 65535), default=8000, help='0 takes a free one')
    parser.add_argument('--token-file', default='', metavar='FILE',
                        help="clients must send what is in it (openpi's api_key)")  # fmt: skip
    parser.add_argument('--certificate', default='', metavar='FILE',
                        help='of TLS: clients use wss://')  # fmt: skip
    parser.add_argument('--key', default='', metavar='FILE',
                        help="the certificate's private key, if in another file")  # fmt: skip
    parser.add_argument('--contract', type=Path, metavar='FILE',
                        help='YAML: what requests hold and answers mean; default: '
                        "observation/CAMERA, observation/state, prompt, and the model's own "
                        'actions in metres and radians')  # fmt: skip
    parser.add_argument('--mode', default='', choices=('', 'auto', 'full', 'max_skip', 'fixed',
                        'by_instruction'),
                        help="when to skip; default: the bundle's")  # fmt: skip
    parser.add_argument('--plays', type=COUNT_FROM_0, default=0, metavar='ROWS',
                        help='how many rows of an answer clients play before they ask again; '
                        'default: all')  # fmt: skip
    parser.add_argument('--silence', type=POSITIVE, default=5.0, metavar='SECONDS',
                        help='after this long without a request a pass is full')  # fmt: skip
    parser.add_argument('--connections', type=COUNT, default=8, help='at the same time')
    parser.add_argument('--max-message-mb', type=COUNT, default=16, metavar='MB',
                        help='largest request')  # fmt: skip
    add_backend(parser)
    parser.add_argument('--plans', default='', help='folder given to dysl build --plans')
    parser.add_argument('--threads', type=WORKERS, default=1, help='of ONNX Runtime')
    parser.add_argument('--device', default='',
                        help='of a folder or a checkpoint: cpu or cuda; default: the GPU, if '
                        'there is one')  # fmt: skip
    add_checkpoint_options(parser)


def run(given: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, then say what was answered."""
    for name, low, high in (
        ('port', 0, 65535), ('connections', 1, 1000), ('threads', 1, _MOST_THREADS),
        ('max_message_mb', 1, 64),
    ):  # fmt: skip
        value = getattr(given, name)
        if not low <= value <= high:
            raise ConfigError(f'--{name}'.replace('_', '-'), value, f'within [{low}, {high}]')
    try:
        from dysl_vla_ros.engines.remote.link import read_token
        from dysl_vla_ros.serving.server import HARNESS, Place, PolicyServer
    except ImportError as error:
        raise EngineError(
            f'a policy is served over websockets and msgpack ({error}): '
            "pip install 'dysl_vla_ros[remote]'"
        ) from None
    from dysl_vla_ros.engines.remote.contract import contract_of, fitting, read_contract
    from dysl_vla_ros.serving.episode import ServeSettings
    from dysl_vla_ros.serving.pictures import read_picture

    place = Place(
        given.host, given.port, read_token(given.token_file), given.certificate, given.key,
        given.max_message_mb << 20, given.connections,
    )  # fmt: skip
    written = None if given.contract is None else read_contract(given.contract.expanduser())
    console, answered = Output(), _Answered()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    logging.getLogger('websockets').setLevel(logging.ERROR)
    asked = ThreadPoolExecutor(1, 'policy')
    try:
        policy = asked.submit(_open, given).result()
        manifest = policy.manifest
        contract = contract_of(manifest) if written is None else fitting(written, manifest)
        settings = ServeSettings(
            skip_settings(NodeConfig(), manifest.calibration),
            given.mode or manifest.calibration.mode, given.plays, given.silence,
        )  # fmt: skip
        server = PolicyServer(
            policy, contract, settings, place, asked=asked, named=written is not None,
            read_picture=read_picture, on_answer=answered,
        )  # fmt: skip
    except BaseException:
        asked.shutdown(wait=False)
        raise
    server.start()
    console.say(
        f'{contract.name} on {policy.engine.device}: {server.url} (openpi), '
        f'{server.url}{HARNESS} (vla-eval), mode {settings.mode}',
    )  # fmt: skip
    for line in _warnings(given.host, place.token, place.certificate):
        console.say(line)
    _wait(server)
    listening = server.listening
    server.close()
    policy.engine.close()
    console.say(str(answered))
    if not listening:
        raise EngineError(f'{server.url}: nobody could come any more; what is above says why')
    return 0


def _open(given: argparse.Namespace) -> Policy:
    """A bundle on its engine; anything else is read by torch."""
    path = Path(given.target).expanduser()
    if not given.target or is_fake_path(given.target) or (path / MANIFEST_NAME).is_file():
        if given.device:
            raise ConfigError('--device', given.device, 'nothing with a bundle: --backend chooses '
                              'what runs it')  # fmt: skip
        return open_policy(
            EngineConfig(
                path=given.target, backend=given.backend, plans=given.plans, threads=given.threads
            )
        )
    engine, source = open_in_torch(path, given)
    from dysl_vla_ros.lab.export.write_bundle import ExportSettings, manifest_of

    manifest = manifest_of(source, path.name, ExportSettings('fp32'), '')
    manifest = with_weights(manifest, [path, *([given.skipping] if given.skipping else [])])
    tokenizer = load_tokenizer(manifest, source.contract().tokenizer)
    policy = Policy(engine, manifest, tokenizer)
    policy.warm_up(1)
    return policy


def _warnings(host: str, token: str, certificate: str) -> list[str]:
    """What somebody who lets other machines in should know."""
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host == 'localhost'
    if own:
        return []
    found = []
    if not token:
        found.append(f'{host}: whoever reaches this port may use the model; --token-file')
    if not certificate:
        found.append(f'{host}: pictures and tokens go unencrypted; --certificate')
    return found


def _wait(server: PolicyServer) -> None:
    """Until somebody ends it, or it ends itself."""
    ended = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    try:
        while server.listening and not ended.wait(0.5):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


class _Answered:
    """Counts what was answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers = self._layers = self._reruns = self._total = 0

    def __call__(self, said: Mapping[str, Any]) -> None:
        with self._lock:
            self._answers += 1
            self._layers += said['layers_spent']
            self._reruns += int(said['rerun'])
            self._total = said['layers_total']

    def __str__(self) -> str:
        if not self._answers:
            return 'no answers'
        return (
            f'{self._answers} answers, {self._layers / self._answers:.2f} of {self._total} layers '
            f'each, re-runs included; {self._reruns} of them were run again'
        )
