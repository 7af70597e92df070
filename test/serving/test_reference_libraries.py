"""openpi's own client and server at the other end, where they are installed.

They pin numpy below 2 and so live in an environment of their own: ``pip install openpi-client
openpi-server``, and this file run there, or with that environment's packages on the path.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip('openpi_client', reason='pip install openpi-client')
pytest.importorskip('websockets', reason="pip install 'dysl_vla_ros[remote]'")

from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.base_policy import BasePolicy
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.remote.contract import contract_of
from dysl_vla_ros.engines.remote.link import Address, Link
from dysl_vla_ros.errors import LinkError
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.remote_policy import RemotePolicy
from dysl_vla_ros.serving.episode import ServeSettings
from dysl_vla_ros.serving.server import Place, PolicyServer

PATIENCE = 30.0
ASKED = {'observation/image': np.zeros((96, 96, 3), np.uint8),
         'observation/state': np.array([0.2, 0, 0, 0, 0, 0, 1.0]), 'prompt': 'pick'}  # fmt: skip


@pytest.fixture
def policy():
    return open_policy(EngineConfig(path='fake', warmup_runs=0))


def test_their_client_and_their_broker_are_served(policy):
    manifest = policy.manifest
    settings = ServeSettings(skip_settings(NodeConfig(), manifest.calibration))
    place = Place(port=0, token='open')
    server = PolicyServer(policy, contract_of(manifest), settings, place)
    server.start()
    client = WebsocketClientPolicy(server.url, api_key='open')
    assert client.get_server_metadata()['action_horizon'] == 8
    answer = client.infer(ASKED)
    assert answer['actions'].shape == (8, 7)
    assert answer['dysl']['mode'] == 'full'
    broker = ActionChunkBroker(client, 8)
    rows = [broker.infer(ASKED) for _ in range(9)]
    assert [row['actions'].shape for row in rows] == [(7,)] * 9
    assert rows[0]['dysl']['mode'] == 'skipped'
    with pytest.raises(RuntimeError, match="lacks 'observation/image'"):
        client.infer({'prompt': 'x'})
    server.close()


class Theirs(BasePolicy):
    """What their server is given: our policy, by their interface."""

    def __init__(self):
        self.asked = []

    def infer(self, obs):
        self.asked.append(obs)
        if obs['prompt'] == 'break':
            raise ValueError('no such task')
        return {'actions': np.full((8, 7), 0.005, np.float32)}


def test_their_server_is_asked_by_our_policy(policy):
    server = pytest.importorskip('openpi_server.websocket_policy_server',
                                 reason='pip install openpi-server')  # fmt: skip
    import asyncio
    import socket

    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    theirs = Theirs()
    one = server.WebsocketPolicyServer(theirs, '127.0.0.1', port, {'who': 'openpi'})
    threading.Thread(target=lambda: asyncio.run(one.run()), daemon=True).start()
    link = Link(Address(f'ws://127.0.0.1:{port}'))
    assert link.wait(PATIENCE) == {'who': 'openpi'}
    manifest = policy.manifest
    remote = RemotePolicy(link, contract_of(manifest), manifest, policy, PATIENCE)
    seen = Observation(1.0, {'image': np.zeros((96, 96, 3), np.uint8)}, np.zeros(6), 1.0, 'pick')
    plan = policy.engine.layout.open_plan()
    found = remote.predict(seen, plan)
    np.testing.assert_allclose(found.normalised[:, 0], 0.5, rtol=1e-6)  # 5 mm of 1 cm
    assert found.trace.layers_run == tuple(range(24))
    assert theirs.asked[0]['observation/state'].shape == (7,)
    with pytest.raises(LinkError, match='no such task'):
        remote.predict(Observation(2.0, seen.images, seen.joints, 1.0, 'break'), plan)
    assert remote.predict(seen, plan).normalised.shape == (8, 7)
    link.close()
