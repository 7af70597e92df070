"""A policy behind a socket, asked over real ones: openpi's protocol, the harness's, strangers."""

from __future__ import annotations

import errno
import logging
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('websockets', reason="pip install 'dysl_vla_ros[remote]'")
pytest.importorskip('msgpack', reason="pip install 'dysl_vla_ros[remote]'")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.remote.contract import contract_of
from dysl_vla_ros.engines.remote.link import Address, Link
from dysl_vla_ros.engines.remote.protocol import pack, unpack
from dysl_vla_ros.errors import ConfigError, InputError, LinkError
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.serving.door import WAITING
from dysl_vla_ros.serving.episode import Episode, ServeSettings
from dysl_vla_ros.serving.server import HARNESS, Place, PolicyServer
from dysl_vla_ros.serving.vla_eval import HarnessSession

PATIENCE = 30.0


@pytest.fixture
def policy():
    return open_policy(EngineConfig(path='fake', warmup_runs=0))


@pytest.fixture
def settings(policy):
    return ServeSettings(skip_settings(NodeConfig(), policy.manifest.calibration))


@pytest.fixture
def serve(policy, settings):
    made = []

    def start(place=None, **options):
        one = PolicyServer(policy, contract_of(policy.manifest), options.pop('how', settings),
                           place or Place(port=0), **options)  # fmt: skip
        one.start()
        made.append(one)
        return one

    yield start
    for one in made:
        one.close()


def asked(prompt='pick', angle=0.2, **more):
    return {
        'observation/image': np.zeros((96, 96, 3), np.uint8),
        'observation/state': np.array([angle, 0, 0, 0, 0, 0, 1.0], np.float32),
        'prompt': prompt, **more,
    }  # fmt: skip


def told(link, word):
    """Wait until the link says why it is down."""
    for _ in range(3000):
        state = link.report()['state']
        if word in state:
            break
        time.sleep(0.01)
    assert word in state
    assert not link.up


def test_the_server_speaks_first_and_answers_with_rows_trace_and_times(serve):
    with connect(serve().url, compression=None) as client:
        about = unpack(client.recv())
        assert (about['action_horizon'], about['action_dim']) == (8, 7)
        client.send(pack(asked()))
        first = unpack(client.recv())
        assert first['actions'].shape == (8, 7)
        assert first['dysl']['mode'] == 'full'
        assert first['server_timing'].keys() == {'infer_ms'}
        client.send(pack(asked()))
        second = unpack(client.recv())
        assert second['dysl']['mode'] == 'skipped'
        assert second['dysl']['skip_ratio'] == 1 - len(second['dysl']['layers_run']) / 24
        assert second['server_timing'].keys() == {'infer_ms', 'prev_total_ms'}


def test_rows_are_the_actions_that_the_policy_itself_would_take(policy, serve):
    from dysl_vla_ros.core import transforms

    link = Link(Address(serve().url))
    link.wait(PATIENCE)
    angle = float(np.float32(0.2))
    rows = link.ask(asked(angle=angle), PATIENCE)['actions']
    seen = Observation(0.0, {'image': np.zeros((96, 96, 3), np.uint8)},
                       np.array([angle, 0, 0, 0, 0, 0]), 1.0, 'pick')  # fmt: skip
    own = open_policy(EngineConfig(path='fake', warmup_runs=0))
    wanted = own.predict(seen, own.engine.layout.full_plan()).normalised
    spec = policy.manifest.action.normalisation
    wanted = transforms.unnormalise(wanted, spec.low, spec.high, spec.mask)
    np.testing.assert_array_equal(rows, wanted)
    link.close()


def test_each_connection_has_an_episode_of_its_own(serve):
    one, other = (Link(Address(serve().url)) for _ in range(2))
    for link in (one, other):
        link.wait(PATIENCE)
    modes = [link.ask(asked(), PATIENCE)['dysl']['mode'] for link in (one, one, other, one)]
    assert modes == ['full', 'skipped', 'full', 'skipped']
    for link in (one, other):
        link.close()


def test_a_new_instruction_a_reset_and_a_silence_begin_with_a_full_pass(policy, settings):
    now = [0.0]
    episode = Episode(policy, contract_of(policy.manifest), settings, lambda: now[0])

    def mode(**changes):
        now[0] += changes.pop('after', 0.4)
        return episode.answer(asked(**changes))['dysl']['mode']

    assert [mode(), mode(), mode(prompt='put'), mode(prompt='put')] == ['full', 'skipped'] * 2
    assert mode(prompt='put', dysl={'reset': True}) == 'full'
    assert [mode(prompt='put'), mode(prompt='put', after=5.1)] == ['skipped', 'full']
    assert mode(prompt='put', dysl={'mode': 'full'}) == 'full'
    assert mode(prompt='put', dysl={'reset': True}) == 'full'
    assert mode(prompt='put', dysl={'played': 0}) == 'full'  # nothing was played since


def test_a_question_aside_leaves_the_episode_as_it_was(policy, settings):
    episode = Episode(policy, contract_of(policy.manifest), settings)
    episode.answer(asked())
    aside = asked(prompt='else', dysl={'mode': 'full', 'aside': True})
    assert episode.answer(aside)['dysl']['mode'] == 'full'
    assert episode.answer(asked())['dysl']['mode'] == 'skipped'


def test_a_drop_of_continuity_makes_the_pass_full_before_it_is_answered(policy, settings):
    turned = np.zeros((8, 7))
    turned[:4, 0], turned[4:, 0] = 1.0, -3.0
    smooth = np.zeros((8, 7))
    smooth[:, 0] = 1.0
    chunks = iter([smooth, turned, smooth])
    policy.engine._actions = lambda inputs: next(chunks)
    settings = replace(settings, mode='max_skip')
    episode = Episode(policy, contract_of(policy.manifest), settings)
    said = [episode.answer(asked())['dysl'] for _ in range(2)]
    assert [one['rerun'] for one in said] == [False, True]
    assert [one['mode'] for one in said] == ['skipped', 'full']
    assert said[1]['skip_ratio'] == 0.0
    assert said[1]['layers_spent'] > 24


@pytest.mark.parametrize(
    ('frame', 'words'),
    [
        (pack({'prompt': 'x'}), "lacks 'observation/image'"),
        (b'\xc1', 'no msgpack'),
        ('a text', 'binary'),
        (pack(asked(dysl={'mode': 'fly'})), 'dysl.mode'),
        (pack(asked(dysl=7)), 'expected a map'),
        (pack(asked(dysl={'played': -1})), 'dysl.played'),
        (pack(asked(dysl={'played': 1000})), 'a number of rows of the last answer, at most'),
        (pack(asked(dysl={'mod': 'full'})), 'dysl.mod: expected one of reset, mode, exit_layer'),
        (pack(asked(dysl={'mode': 'fixed', 'exit_layr': 3})), 'dysl.exit_layr'),
        (pack(asked(dysl={'mode': ''})), 'dysl.mode'),
        (pack(asked(dysl={'mode': {}})), 'dysl.mode'),
        (pack(asked(dysl={'reset': 'no'})), 'dysl.reset = no: expected true or false'),
        (pack(asked(dysl={'aside': 1})), 'dysl.aside = 1: expected true or false'),
        (pack(asked(dysl={'number': [1]})), 'dysl.number = [1]: expected a whole number'),
        (pack(asked(dysl={'reset': True, 'played': -1})), 'dysl.played = -1'),
        (pack(asked(prompt='put', dysl={'played': True})), 'dysl.played = True'),
        (pack({**asked(), 'observation/state': ['1'] * 7}), "['1', '1', '1'"),
        (pack({**asked(), 'observation/state': [True] * 7}), 'expected 7 numbers'),
        (pack({**asked(), 'observation/state': [0.0] * 6 + [True]}), 'expected 7 numbers'),
        (pack({**asked(), 'observation/state': np.ones(7, bool)}), 'an array of bool: expected 7'),
        (pack({**asked(), 'observation/state': '1'}), 'state is 1, a str: expected 7 numbers'),
        (pack(asked(prompt='')), 'instruction'),
        (pack(asked(prompt='x' * 5000)), 'instruction'),
    ],
)
def test_a_wrong_request_is_told_in_a_text_and_ends_its_connection_alone(serve, frame, words):
    server = serve()
    good = Link(Address(server.url))
    good.wait(PATIENCE)
    good.ask(asked(), PATIENCE)
    with connect(server.url, compression=None) as client:
        client.recv()
        client.send(pack(asked()))
        client.recv()
        client.send(frame)
        said = client.recv()
        assert isinstance(said, str)
        assert words in said
        assert 'Traceback' not in said
        with pytest.raises(ConnectionClosed):
            client.recv()
    assert good.ask(asked(), PATIENCE)['dysl']['mode'] == 'skipped'
    good.close()


def test_a_bug_of_the_policy_is_an_error_without_its_insides(policy, serve, caplog):
    def broken(inputs):
        raise RuntimeError('/home/me/secret')

    policy.engine._actions = broken
    with connect(serve().url, compression=None) as client, caplog.at_level(logging.CRITICAL):
        client.recv()
        client.send(pack(asked()))
        said = client.recv()
    assert 'RuntimeError' in said
    assert 'secret' not in said


def test_a_message_that_is_too_large_ends_its_connection_before_it_is_read(serve):
    with connect(serve(Place(port=0, largest=1 << 20)).url, compression=None) as client:
        client.recv()
        client.send(b'\0' * (2 << 20))
        with pytest.raises(ConnectionClosed):
            client.recv()


def test_health_is_told_to_everybody_and_a_token_is_asked_of_clients(serve):
    server = serve(Place(port=0, token='open sesame'))
    page = server.url.replace('ws', 'http')
    for path in ('/healthz', '/health'):
        assert urllib.request.urlopen(page + path, timeout=PATIENCE).status == 200
    for token in ('', 'open', 'open sesame '):
        link = Link(Address(server.url, token=token))
        if token.strip() == server.place.token:
            link.wait(PATIENCE)
        else:
            told(link, 'token')
        link.close()


def test_other_paths_and_too_many_connections_are_refused(serve):
    server = serve(Place(port=0, most=1))
    with pytest.raises(urllib.error.HTTPError, match='404'):
        urllib.request.urlopen(server.url.replace('ws', 'http') + '/metrics', timeout=PATIENCE)
    with connect(server.url, compression=None) as client:
        client.recv()
        with pytest.raises(InvalidStatus, match='503'):
            connect(server.url, compression=None)


def test_a_port_that_is_taken_and_files_that_are_no_certificate_are_named(
    serve, policy, settings, tmp_path
):
    taken = serve().url.rpartition(':')[2]
    contract = contract_of(policy.manifest)
    with pytest.raises(ConfigError, match=taken):
        PolicyServer(policy, contract, settings, Place(port=int(taken)))
    (tmp_path / 'x.pem').write_text('nothing')
    with pytest.raises(ConfigError, match='certificate'):
        PolicyServer(policy, contract, settings, Place(port=0, certificate=f'{tmp_path}/x.pem'))
    with pytest.raises(ConfigError, match='certificate too'):
        PolicyServer(policy, contract, settings, Place(port=0, key='k'))


def test_over_tls_with_a_certificate_that_the_robot_knows_and_with_no_other(serve, tmp_path):
    pem = tmp_path / 'pair.pem'
    made = subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
         '-nodes', '-keyout', str(pem), '-out', str(tmp_path / 'c.pem'), '-days', '2', '-subj',
         '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip('no openssl program here')
    certificate = tmp_path / 'c.pem'
    server = serve(Place(port=0, certificate=str(certificate), key=str(pem)))
    known = Link(Address(server.url, ca_file=str(certificate)))
    known.wait(PATIENCE)
    assert known.ask(asked(), PATIENCE)['actions'].shape == (8, 7)
    known.close()
    stranger = Link(Address(server.url))
    with pytest.raises(LinkError, match='certificate'):
        stranger.wait(2.0)
    stranger.close()


def test_the_harness_gets_row_by_row_and_episodes_begin_anew(serve):
    server = serve()

    def message(kind, payload, seq):
        return pack({'type': kind, 'payload': payload, 'seq': seq, 'timestamp': 1.0}, True)

    def ask(client, kind, payload, seq):
        client.send(message(kind, payload, seq))
        return unpack(client.recv())

    seen = {
        'images': {'agentview': np.zeros((96, 96, 3), np.uint8)},
        'states': asked()['observation/state'], 'task_description': 'pick',
    }  # fmt: skip
    with connect(server.url + HARNESS, compression=None) as client:
        hello = ask(client, 'hello', {'harness_version': '0'}, 1)
        assert (hello['type'], hello['seq']) == ('hello', 1)
        assert hello['payload']['protocol_version'] == 1
        client.send(message('episode_start', {'task': {}}, 2))
        found = [ask(client, 'observation', seen, 3 + step) for step in range(9)]
        assert [one['type'] for one in found] == ['action'] * 9
        assert [one['seq'] for one in found] == list(range(3, 12))
        assert found[0]['payload']['actions'].shape == (7,)
        assert found[0]['payload']['actions'].dtype == np.float32
        modes = [one['payload']['dysl']['mode'] for one in found]
        assert modes == ['full'] * 8 + ['skipped']
        client.send(message('episode_end', {'success': True}, 12))
        client.send(message('episode_start', {}, 13))
        again = ask(client, 'observation', seen, 14)
        assert again['payload']['dysl']['mode'] == 'full'
        client.send(message('episode_end', {}, 16))
        wrong = ask(client, 'observation', {'images': {}}, 17)
        assert wrong['type'] == 'error'
        assert 'observation_failed' in wrong['payload']['error']


def test_the_harness_gets_no_row_of_a_chunk_for_what_does_not_fit_or_says_other_words(
    policy, settings
):
    session = HarnessSession(Episode(policy, contract_of(policy.manifest), settings, decides=True))
    state = asked()['observation/state']
    seen = {'images': {'image': np.zeros((96, 96, 3), np.uint8)}, 'states': state,
            'task_description': 'pick'}  # fmt: skip

    def answer(payload):
        found = session.answer({'type': 'observation', 'payload': payload, 'seq': 1})
        return found['payload'].get('error') or found['payload']['dysl']['mode']

    assert [answer(seen), answer(seen)] == ['full', 'full']
    assert 'lacks' in answer({})
    assert 'image' in answer({**seen, 'images': {'image': 7}})
    assert 'finite' in answer({**seen, 'states': np.full(7, np.nan)})
    assert 'the instruction is a NoneType' in answer({**seen, 'task_description': None})
    made = []
    policy.predict = lambda observation, plan, real=policy.predict: (
        made.append(observation.instruction) or real(observation, plan)
    )
    assert [answer(seen) for _ in range(6)] == ['full'] * 6  # the rest of the chunk
    assert not made
    assert answer(seen) == 'skipped'
    assert answer({**seen, 'task_description': 'put'}) == 'full'
    assert made == ['pick', 'put']


def test_the_keys_of_a_harness_are_those_of_an_observation_that_fits_and_of_each_episode_anew(
    policy, settings
):
    contract = contract_of(policy.manifest)
    session = HarnessSession(Episode(policy, contract, settings, decides=True), 0, False)
    state, picture = asked()['observation/state'], np.zeros((96, 96, 3), np.uint8)
    seen = {'images': {'agentview': picture}, 'states': state, 'task_description': 'pick'}

    def answer(payload, kind='observation'):
        found = session.answer({'type': kind, 'payload': payload, 'seq': 1})
        return found and (found['payload'].get('error') or found['payload']['dysl']['mode'])

    without = {key: value for key, value in seen.items() if key != 'states'}
    assert "lacks 'state'" in answer({**without, 'images': {'other': picture}})
    assert answer(seen) == 'full'
    answer({}, 'episode_start')
    assert answer({**seen, 'images': {'another': picture}}) == 'full'


def answers(reply):
    """A server of other people's: metadata, then whatever ``reply`` does."""
    from websockets.sync.server import serve as listen

    def handle(client):
        client.send(pack({}))
        try:
            while True:
                reply(client, unpack(client.recv()))
        except ConnectionClosed:
            pass

    server = listen(handle, '127.0.0.1', 0, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f'ws://127.0.0.1:{server.socket.getsockname()[1]}'


def test_a_late_answer_is_not_taken_for_that_of_the_next_request():
    late = threading.Event()

    def reply(client, request):
        if request['n'] == 1:
            late.wait(PATIENCE)
        client.send(pack({'n': request['n']}))

    server, url = answers(reply)
    link = Link(Address(url))
    link.wait(PATIENCE)
    assert link.ask({'n': 0}, PATIENCE) == {'n': 0}
    with pytest.raises(LinkError, match=r'within 0\.2 s'):
        link.ask({'n': 1}, 0.2)
    late.set()
    assert link.ask({'n': 2}, PATIENCE) == {'n': 2}
    assert link.report()['connects'] == 2
    link.close()
    server.shutdown()


def test_a_message_that_nobody_asked_for_is_not_taken_for_the_next_answer():
    sent = threading.Event()

    def reply(client, request):
        client.send(pack(request))
        if request['n'] == 0:
            client.send(pack(request))
            sent.set()

    server, url = answers(reply)
    link = Link(Address(url))
    link.wait(PATIENCE)
    assert link.ask({'n': 0}, PATIENCE) == {'n': 0}
    assert sent.wait(PATIENCE)
    time.sleep(0.2)  # until it lies here
    assert [link.ask({'n': n}, PATIENCE)['n'] for n in (1, 2)] == [1, 2]
    assert link.report()['connects'] == 2 and link.report()['failures'] == 0
    link.close()
    server.shutdown()


def test_clients_that_vanish_in_the_handshake_leave_room_for_others(serve):
    import struct

    server = serve(Place(port=0, most=1))
    host, port = server.url.removeprefix('ws://').split(':')
    hello = (
        f'GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'
    )
    for _ in range(10):
        with socket.create_connection((host, int(port))) as stream:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            stream.sendall(hello.encode())
            stream.recv(12)
    link = Link(Address(server.url))
    link.wait(PATIENCE)
    link.close()


def test_a_crowd_that_says_nothing_keeps_no_client_out_and_is_ended(serve):
    server = serve()
    host, port = server.url.removeprefix('ws://').split(':')
    before = threading.active_count()
    crowd = [socket.create_connection((host, int(port))) for _ in range(200)]
    with connect(server.url, compression=None, open_timeout=PATIENCE) as client:
        assert 'model' in unpack(client.recv())
        # Sooner than a handshake is given up anyhow.
        assert wait_until(lambda: threading.active_count() - before < 2 * WAITING + 20, 3.0)
    for one in crowd:
        one.close()


def test_a_server_without_descriptors_goes_on_when_there_are_some_again(serve, caplog):
    server = serve()
    failed, real = [], server._server.socket._listening

    class Poor:
        """As a listening socket of a process at its limit."""

        def accept(self):
            if len(failed) < 3:
                failed.append(1)
                raise OSError(errno.EMFILE, 'Too many open files')
            return real.accept()

        def __getattr__(self, name):
            return getattr(real, name)

    server._server.socket._listening = Poor()
    with connect(server.url, compression=None, open_timeout=PATIENCE) as client:
        assert 'model' in unpack(client.recv())
    assert len(failed) == 3
    assert 'Too many open files' in caplog.text
    assert server.listening


def test_of_many_at_once_as_many_come_in_as_are_allowed_and_no_more(serve, monkeypatch):
    handshake = PolicyServer._admit

    def slowly(self, connection, request):
        found = handshake(self, connection, request)
        time.sleep(0.3)  # all of them are looked at before the first one is in
        return found

    monkeypatch.setattr(PolicyServer, '_admit', slowly)
    server = serve(Place(port=0, most=2))
    told, refused, over = [], [], threading.Event()

    def come():
        with connect(server.url, compression=None, open_timeout=PATIENCE) as client:
            try:
                told.append(unpack(client.recv()))
            except ConnectionClosed as error:
                refused.append(str(error))
            over.wait(PATIENCE)

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(told) + len(refused) == 8, PATIENCE)
    over.set()
    for thread in threads:
        thread.join()
    assert len(told) == 2
    assert all('2 connections already' in words for words in refused)


def test_who_has_long_said_nothing_makes_room_for_another_and_who_asked_stays(serve, monkeypatch):
    server = serve(Place(port=0, most=2))
    with connect(server.url, compression=None) as asks, connect(server.url) as silent:
        for client in (asks, silent):
            client.recv()
        asks.send(pack(asked()))
        asks.recv()
        with pytest.raises(InvalidStatus):
            connect(server.url)
        monkeypatch.setattr('dysl_vla_ros.serving.server._SILENT_S', 0.0)
        with connect(server.url, compression=None) as other:
            assert 'model' in unpack(other.recv())
            with pytest.raises(ConnectionClosed, match='nothing was said'):
                silent.recv()
            asks.send(pack(asked()))
            assert 'actions' in unpack(asks.recv())


def wait_until(holds, patience):
    for _ in range(int(100 * patience)):
        if holds():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize('url', ['ws://gpu..machine:8000', 'ws://' + 'a' * 70 + ':8000'])
def test_an_address_that_no_name_server_takes_is_told_and_tried_again(url):
    link = Link(Address(url))
    told(link, 'label')
    assert link._thread.is_alive()
    link.close()


def test_a_connection_that_was_cut_is_made_anew_within_the_same_request():
    asked_for = []

    def reply(client, request):
        asked_for.append(request['n'])
        if len(asked_for) == 2:
            client.socket.shutdown(socket.SHUT_RDWR)
            return
        client.send(pack(request))

    server, url = answers(reply)
    link = Link(Address(url))
    link.wait(PATIENCE)
    assert [link.ask({'n': n}, PATIENCE)['n'] for n in range(3)] == [0, 1, 2]
    assert asked_for == [0, 1, 1, 2]
    link.close()
    server.shutdown()


def test_a_server_that_goes_while_nobody_asks_is_noticed_all_the_same(serve):
    server = serve()
    link = Link(Address(server.url))
    link.wait(PATIENCE)
    server.close()
    told(link, 'refused')
    link.close()


def test_an_error_of_the_server_is_told_by_its_last_line_and_the_next_request_goes_on():
    def reply(client, request):
        if request['n'] == 1:
            client.send('Traceback\n  File x\nValueError: no such task')
            client.close(1011)
            return
        client.send(pack(request))

    server, url = answers(reply)
    link = Link(Address(url))
    link.wait(PATIENCE)
    with pytest.raises(LinkError, match='ValueError: no such task'):
        link.ask({'n': 1}, PATIENCE)
    assert link.ask({'n': 2}, PATIENCE) == {'n': 2}
    link.close()
    server.shutdown()


def test_a_server_that_reads_no_more_does_not_hold_the_request_beyond_its_deadline():
    server = socket.create_server(('127.0.0.1', 0))
    held = []

    def shake_hands():
        from websockets.server import ServerProtocol

        stream, _ = server.accept()
        held.append(stream)
        protocol = ServerProtocol()
        protocol.receive_data(stream.recv(65536))
        protocol.send_response(protocol.accept(protocol.events_received()[0]))
        protocol.send_binary(pack({}))
        for data in protocol.data_to_send():
            stream.sendall(data)  # and nothing is read from here on

    threading.Thread(target=shake_hands, daemon=True).start()
    link = Link(Address(f'ws://127.0.0.1:{server.getsockname()[1]}'))
    link.wait(PATIENCE)
    began = time.monotonic()
    with pytest.raises(LinkError, match=r'within 0\.3 s'):
        link.ask({'picture': np.zeros(32 << 20, np.uint8)}, 0.3)
    assert time.monotonic() - began < PATIENCE
    link.close()
    for stream in (*held, server):
        stream.close()


@pytest.mark.parametrize(
    'url', ['', 'http://x', 'ws://', 'localhost:8000', 'ws://h:0', 'ws://h:99999', 'ws://h:x']
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError, match=r'remote\.url'):
        Address(url)


def test_nobody_there_is_told_with_the_reason():
    free = socket.create_server(('127.0.0.1', 0))
    port = free.getsockname()[1]
    free.close()
    link = Link(Address(f'ws://127.0.0.1:{port}'))
    told(link, 'refused')
    with pytest.raises(LinkError, match='refused'):
        link.wait(0.05)
    with pytest.raises(LinkError, match='refused'):
        link.ask({'n': 1}, 0.1)
    link.close()


@pytest.mark.parametrize(
    ('said', 'words'),
    [
        ({'mode': 'fixed', 'exit_layer': 0}, 'dysl.exit_layer = 0 with mode fixed: expected'),
        ({'mode': 'fixed', 'exit_layer': 23}, 'expected mode fixed and 1 to 22'),
        ({'mode': 'fixed', 'exit_layer': True}, 'dysl.exit_layer = True'),
        ({'mode': 'fixed', 'exit_layer': 'deep'}, 'dysl.exit_layer = deep'),
        ({'mode': 'auto', 'exit_layer': 5}, 'with mode auto: expected mode fixed'),
        ({'mode': 'fixed'}, 'expected dysl.exit_layer too: the bundle names none'),
    ],
)
def test_an_exit_that_the_model_does_not_have_is_answered_with_what_it_has(
    policy, settings, said, words
):
    episode = Episode(policy, contract_of(policy.manifest), settings)
    with pytest.raises(InputError) as told:
        episode.answer(asked(dysl=said))
    assert words in str(told.value)


def test_a_request_says_where_its_pass_leaves_and_the_answer_says_what_ran(policy, settings):
    episode = Episode(policy, contract_of(policy.manifest), settings)
    found = episode.answer(asked(dysl={'mode': 'fixed', 'exit_layer': 6}))['dysl']
    assert found['layers_run'] == [*range(6), 23]


@pytest.mark.parametrize(
    ('state', 'words'),
    [
        ([0.0] * 6 + [5.0], 'gripper = 5: expected its measured opening, 0 closed to 1 open'),
        ([0.0] * 6 + [-0.5], 'gripper = -0.5'),
        ([1e30] + [0.0] * 5 + [0.5], 'expected radians or metres, none beyond 100'),
        ([0.0, 999.0] + [0.0] * 4 + [0.5], 'number 2 of the state = 999'),
    ],
)
def test_openings_and_joints_that_no_arm_has_are_refused_at_the_door(
    policy, settings, state, words
):
    episode = Episode(policy, contract_of(policy.manifest), settings)
    with pytest.raises(InputError) as told:
        episode.answer({**asked(), 'observation/state': np.array(state, np.float32)})
    assert words in str(told.value)
    overshot = np.array([0.0] * 6 + [1.02], np.float32)
    assert episode.answer({**asked(), 'observation/state': overshot})['actions'].shape == (8, 7)
