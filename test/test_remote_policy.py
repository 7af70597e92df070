"""Policies that a server makes, or verifies: the same chunks as here; what a lost link does."""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_bundle

pytest.importorskip('websockets', reason="pip install 'dysl_vla_ros[remote]'")
pytest.importorskip('msgpack', reason="pip install 'dysl_vla_ros[remote]'")

from dysl_vla_ros.config import EngineConfig, NodeConfig, from_flat
from dysl_vla_ros.data_types import Observation, SkipPlan
from dysl_vla_ros.engines.remote.contract import contract_of
from dysl_vla_ros.engines.remote.same_model import SameModel
from dysl_vla_ros.errors import BundleError, ConfigError, EngineError, InputError, LinkError
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.policy_process.client import ProcessPolicy
from dysl_vla_ros.remote_policy import RemotePolicy, VerifiedPolicy, open_anywhere
from dysl_vla_ros.serving.episode import Episode, ServeSettings
from dysl_vla_ros.serving.server import Place, PolicyServer

QUICK = {'remote_deadline_s': 20.0, 'pass_timeout_s': 60.0, 'rerun_deadline_s': 20.0}


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', layers=5)


@pytest.fixture
def local(bundle):
    policy = open_policy(EngineConfig(path=str(bundle), warmup_runs=0))
    yield policy
    policy.engine.close()


@pytest.fixture
def server(bundle):
    policy = open_policy(EngineConfig(path=str(bundle), warmup_runs=0))
    manifest = policy.manifest
    settings = ServeSettings(skip_settings(NodeConfig(), manifest.calibration), 'max_skip')
    one = PolicyServer(policy, contract_of(manifest), settings, Place(port=0))
    one.start()
    yield one
    one.close()


@pytest.fixture
def opened():
    made = []

    def keep(policy):
        made.append(policy)
        return policy

    yield keep
    for policy in made:
        policy.engine.close()


def settings_of(bundle, url, **changes):
    return EngineConfig(path=str(bundle), backend='remote', remote_url=url, **{**QUICK, **changes})


def seen(manifest, stamp=7.5):
    chance = np.random.default_rng(3)
    images = {
        camera.name: chance.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
        for camera in manifest.cameras
    }
    body = np.float32(chance.uniform(-0.5, 0.5, manifest.proprioception.body))
    gripper = 1.0 if manifest.proprioception.gripper else None
    return Observation(stamp, images, body.astype(np.float64), gripper, 'pick the red cube')


def open_jump(layout):
    return SkipPlan(layout.open_plan().allow, 'open')


def dead_url():
    with socket.create_server(('127.0.0.1', 0)) as free:
        return f'ws://127.0.0.1:{free.getsockname()[1]}'


def test_a_full_pass_of_a_server_is_the_full_pass_of_this_machine(bundle, local, server, opened):
    remote = opened(open_anywhere(settings_of(bundle, server.url))[0])
    assert remote.manifest == local.manifest
    here, layout = seen(local.manifest), local.engine.layout
    found = remote.predict(here, layout.full_plan())
    wanted = local.predict(here, layout.full_plan())
    np.testing.assert_allclose(found.normalised, wanted.normalised, atol=1e-9)
    assert (found.stamp, found.instruction, found.mode) == (7.5, 'pick the red cube', 'full')
    assert found.trace.layers_run == wanted.trace.layers_run
    assert found.stage_seconds.keys() == {'preprocess', 'remote'}


@pytest.mark.parametrize(
    ('other', 'words'),
    [
        ({'space': 'eef_pose'}, 'action_space = eef_pose: expected eef_delta'),
        ({'period_s': 0.2}, 'action_period_s = 0.2: expected 0.05'),
        ({'horizon': 4}, 'action_horizon = 4: expected 8, or more'),
    ],
)
def test_a_server_whose_answers_mean_something_else_is_refused(bundle, local, other, words):
    """The robot would take the numbers of one space for those of another."""
    contract, manifest = contract_of(local.manifest), local.manifest
    settings = ServeSettings(skip_settings(NodeConfig(), manifest.calibration), 'full')
    theirs = replace(contract, action=replace(contract.action, **other))
    one = PolicyServer(local, theirs, settings, Place(port=0))
    one.start()
    with pytest.raises(EngineError) as told:
        open_anywhere(settings_of(bundle, one.url))
    assert words in str(told.value)
    one.close()


def test_an_answer_without_actions_is_not_followed_by_answers_to_questions_of_before(local):
    from websockets.sync.server import serve as listen

    from dysl_vla_ros.engines.remote.link import Address, Link
    from dysl_vla_ros.engines.remote.protocol import pack, unpack

    contract, manifest = contract_of(local.manifest), local.manifest
    turns = []

    def handle(client):
        client.send(pack({'policy': 'of other people'}))
        for frame in client:
            unpack(frame)
            turns.append(1)
            if len(turns) == 1:
                client.send(pack({'status': 'compiling'}))
            rows = np.full((contract.action.horizon, contract.action.dim), float(len(turns)))
            client.send(pack({'actions': rows}))

    server = listen(handle, '127.0.0.1', 0, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    link = Link(Address(f'ws://127.0.0.1:{server.socket.getsockname()[1]}'))
    remote = RemotePolicy(link, contract, manifest, local, 20.0)
    plan, here = local.engine.layout.full_plan(), seen(manifest)
    with pytest.raises(LinkError, match="'status'"):
        remote.predict(here, plan)
    second, third = (remote.predict(here, plan).normalised[0, 0] for _ in range(2))
    assert third / second == pytest.approx(3 / 2)
    assert remote.report()['failures'] == 1
    link.close()
    server.shutdown()


def test_what_a_server_skips_is_seen_and_is_not_run_again_here(bundle, local, server, opened):
    remote = opened(open_anywhere(settings_of(bundle, server.url))[0])
    here, layout = seen(local.manifest), local.engine.layout
    remote.predict(here, layout.full_plan())
    found = remote.predict(here, layout.open_plan())
    assert found.trace.layers_total == layout.layers_total
    assert found.trace.resume_layer is None
    with pytest.raises(EngineError, match='verified it itself|run again'):
        remote.rerun(found)
    with pytest.raises(EngineError, match='compare'):
        remote.compare(here, layout.full_plan())


def test_it_runs_in_the_models_process_and_says_how_its_link_is(bundle, local, server, opened):
    remote = opened(ProcessPolicy(settings_of(bundle, server.url)))
    found = remote.predict(seen(local.manifest), local.engine.layout.full_plan())
    wanted = local.predict(seen(local.manifest), local.engine.layout.full_plan())
    np.testing.assert_allclose(found.normalised, wanted.normalised, atol=1e-9)
    assert remote.link['state'] == 'connected'
    assert float(remote.link['round_trip_ms']) > 0
    assert server.url in remote.engine.device


def test_a_server_that_goes_away_is_a_lost_link_and_its_return_needs_no_restart(
    bundle, local, opened
):
    policy = open_policy(EngineConfig(path=str(bundle), warmup_runs=0))
    how = ServeSettings(skip_settings(NodeConfig(), policy.manifest.calibration))
    contract = contract_of(policy.manifest)
    first = PolicyServer(policy, contract, how, Place(port=0))
    first.start()
    port = int(first.url.rpartition(':')[2])
    remote = opened(ProcessPolicy(settings_of(bundle, first.url, remote_deadline_s=0.5)))
    here, plan = seen(local.manifest), local.engine.layout.full_plan()
    remote.predict(here, plan)
    first.close()
    with pytest.raises(LinkError):
        remote.predict(here, plan)
    assert remote.link['state'].startswith('down')
    assert remote.alive
    second = PolicyServer(policy, contract, how, Place(port=port))
    second.start()
    for _ in range(100):
        try:
            back = remote.predict(here, plan)
            break
        except LinkError:
            continue
    assert back.normalised.shape == (local.manifest.action.horizon, local.manifest.action.dim)
    assert remote.restarts == 0
    second.close()


def serving(bundle, port=0):
    policy = open_policy(EngineConfig(path=str(bundle), warmup_runs=0))
    how = ServeSettings(skip_settings(NodeConfig(), policy.manifest.calibration))
    server = PolicyServer(policy, contract_of(policy.manifest), how, Place(port=port))
    server.start()
    return server


def until_it_answers(remote, here, plan, tries=40):
    """A pass, or why there is none after so many tries."""
    for _ in range(tries):
        try:
            return remote.predict(here, plan)
        except LinkError as error:
            reason = str(error)
    return reason


def test_a_server_that_comes_back_with_another_model_does_not_take_over(
    bundle, local, opened, tmp_path
):
    """The arm would go on by itself, moved by what nobody configured."""
    first = serving(bundle)
    port = int(first.url.rpartition(':')[2])
    remote = opened(open_anywhere(settings_of(bundle, first.url, remote_deadline_s=0.3))[0])
    here, plan = seen(local.manifest), local.engine.layout.full_plan()
    remote.predict(here, plan)
    first.close()
    second = serving(tiny_bundle.write_tiny_bundle(tmp_path / 'other', seed=7), port)
    told = until_it_answers(remote, here, plan)
    second.close()
    assert 'came back with another model' in told and 'configure the node' in told
    third = serving(bundle, port)
    assert not isinstance(until_it_answers(remote, here, plan), str), 'the same one is taken'
    third.close()


def test_a_server_whose_joints_stand_in_another_order_is_refused(bundle, local):
    manifest = local.manifest
    turned = replace(manifest.action, joint_names=manifest.action.joint_names[::-1])
    said = SameModel(contract_of(manifest))
    ours = {'dysl': {}, 'action_space': turned.space, 'action_period_s': turned.period_s,
            'action_dim': turned.dim, 'action_horizon': turned.horizon,
            'model': 'a', 'joint_names': list(manifest.action.joint_names)}  # fmt: skip
    said(ours)
    with pytest.raises(LinkError, match='joint_names'):
        said({**ours, 'joint_names': list(turned.joint_names)})
    with pytest.raises(LinkError, match='another model'):
        said({**ours, 'model': 'b'})
    said({key: value for key, value in ours.items() if key != 'joint_names'})


def test_a_server_that_comes_back_with_wider_actions_of_the_same_files_is_refused(local):
    """The arm would go on by itself, ten times as far."""
    wider = local.manifest.action.normalisation
    wider = replace(wider, low=tuple(10 * value for value in wider.low))
    theirs = replace(local.manifest, action=replace(local.manifest.action, normalisation=wider))
    contract, ours = contract_of(local.manifest), local.manifest
    finer = replace(contract, action=replace(contract.action, scale=(0.1,) * 6))
    looks = SameModel(contract, ours.digest)
    looks(about(ours, contract))
    looks(about(ours, contract))
    with pytest.raises(LinkError, match='with another model .*clean up and configure'):
        looks(about(theirs, contract))
    with pytest.raises(LinkError, match='with another contract .*clean up and configure'):
        looks(about(ours, finer))


def about(manifest, contract):
    """What such a server says when a connection begins."""
    from websockets.sync.client import connect

    from dysl_vla_ros.engines.remote.protocol import unpack

    settings = ServeSettings(skip_settings(NodeConfig(), manifest.calibration), 'full')
    policy = SimpleNamespace(manifest=manifest, engine=SimpleNamespace(device='here'))
    server = PolicyServer(policy, contract, settings, Place(port=0))
    server.start()
    with connect(server.url, compression=None) as client:
        said = unpack(client.recv())
    server.close()
    return said


def test_an_answer_to_another_request_is_none(bundle, local, opened, monkeypatch):
    """Of another robot, or of the moment before: what stands between mixed them up."""
    server = serving(bundle)
    remote = opened(open_anywhere(settings_of(bundle, server.url, warmup_runs=0))[0])
    here, plan = seen(local.manifest), local.engine.layout.full_plan()
    assert remote.predict(here, plan).mode == 'full'
    asked, answer = [], Episode.answer

    def mixed_up(self, request):
        asked.append(request['dysl']['number'])
        other = {**request, 'dysl': {**request['dysl'], 'number': asked[0] - 1}}
        return answer(self, other)

    monkeypatch.setattr(Episode, 'answer', mixed_up)
    with pytest.raises(LinkError, match='answered another request'):
        remote.predict(here, plan)
    monkeypatch.undo()
    assert not isinstance(until_it_answers(remote, here, plan), str), 'a new connection is made'
    assert remote.report()['failures'] >= 1
    server.close()


def test_a_server_of_somebody_else_is_the_same_while_it_says_the_same_of_itself(local):
    said = SameModel(contract_of(local.manifest))
    said({'reset_pose': [0, 1]})
    said({'reset_pose': [0, 1]})
    with pytest.raises(LinkError, match='says something else of itself'):
        said({'reset_pose': [2, 1]})


def test_another_bundle_than_the_one_here_is_told(local, caplog):
    ours = {'dysl': {}, 'action_space': 'eef_delta', 'action_period_s': 0.05, 'action_dim': 7,
            'action_horizon': 8, 'model': 'b' * 64}  # fmt: skip
    SameModel(contract_of(local.manifest), 'a' * 64)(ours)
    assert 'another bundle than the one here' in caplog.text


def test_a_bundle_that_is_not_the_servers_is_refused_before_anything_moves(tmp_path, server):
    other = tiny_bundle.write_tiny_bundle(tmp_path / 'other', layers=5)
    contract = tmp_path / 'c.yaml'
    contract.write_text(
        'name: x\nrequest: {wrong: camera image, prompt: instruction}\n'
        'cameras: {image: {height: 8, width: 8}}\n'
        'action: {space: eef_delta, dim: 7, gripper: true, horizon: 2, period_s: 0.05}\n',
        encoding='utf-8',
    )  # fmt: skip
    config = settings_of(other, server.url, remote_contract=str(contract))
    with pytest.raises(EngineError, match='lacks'):
        open_anywhere(config)
    with pytest.raises(BundleError):
        open_anywhere(replace(config, remote_contract=str(tmp_path / 'none.yaml')))


def test_nobody_there_at_configure_is_an_error_that_names_the_address(bundle):
    url = dead_url()
    with pytest.raises(EngineError, match=url):
        open_anywhere(settings_of(bundle, url, remote_open_timeout_s=0.3))


def test_an_observation_that_does_not_fit_is_sent_to_nobody(bundle, local, server, opened):
    remote = opened(open_anywhere(settings_of(bundle, server.url))[0])
    plan, before = local.engine.layout.full_plan(), remote.report()['requests']
    here = seen(local.manifest)
    for wrong in (replace(here, images={}), replace(here, instruction=' '),
                  replace(here, joints=here.joints * np.nan)):  # fmt: skip
        with pytest.raises(InputError):
            remote.predict(wrong, plan)
    assert remote.report()['requests'] == before


def verified(bundle, url, **changes):
    config = EngineConfig(path=str(bundle), rerun_where='remote', remote_url=url,
                          warmup_runs=0, **{**QUICK, **changes})  # fmt: skip
    return open_anywhere(config)[0]


def up(policy):
    for _ in range(2000):
        if policy.report()['state'] == 'connected':
            return
        threading.Event().wait(0.01)
    raise AssertionError(policy.report())


def test_the_robot_skips_and_the_server_verifies_with_the_same_full_pass(
    bundle, local, server, opened
):
    policy = opened(verified(bundle, server.url))
    assert isinstance(policy, VerifiedPolicy)
    up(policy)
    here, layout = seen(local.manifest), local.engine.layout
    first = policy.predict(here, open_jump(layout))
    assert first.mode == 'skipped'
    again = policy.rerun(first)
    wanted = local.predict(here, layout.full_plan())
    np.testing.assert_allclose(again.normalised, wanted.normalised, atol=1e-9)
    assert (again.mode, again.stamp) == ('rerun', first.stamp)
    assert again.trace.layers_run == tuple(range(layout.layers_total))
    assert 'remote' in again.stage_seconds
    assert (policy.verified, policy.verified_here) == (1, 0)


def test_without_a_link_the_full_pass_is_made_here_counted_and_told(bundle, local, opened, caplog):
    policy = opened(verified(bundle, dead_url()))
    here, layout = seen(local.manifest), local.engine.layout
    with caplog.at_level(logging.WARNING):
        for count in (1, 2):
            again = policy.rerun(policy.predict(here, open_jump(layout)))
            assert policy.report()['verified_here'] == count
    wanted = local.predict(here, layout.full_plan())
    np.testing.assert_allclose(again.normalised, wanted.normalised, atol=1e-6)
    assert again.mode == 'rerun'
    assert sum('full pass runs here' in text for text in caplog.messages) == 1


class Late:
    """A server that is there and answers no request in time."""

    def __init__(self):
        self.asked = 0
        self.up = True
        self.address = type('A', (), {'url': 'ws://late'})

    def ask(self, request, deadline_s):
        self.asked += 1
        raise LinkError('no answer in time')

    def report(self):
        return {'state': 'connected'}

    def close(self):
        pass


def test_a_server_that_is_late_is_not_waited_for_again_and_again(local):
    now, link = [0.0], Late()
    remote = RemotePolicy(link, contract_of(local.manifest), local.manifest, local, 1.0)
    policy = VerifiedPolicy(local, remote, 0.4, lambda: now[0])
    here, plan = seen(local.manifest), open_jump(local.engine.layout)
    asked = []
    for moment in (0.0, 0.5, 1.1, 2.0, 3.2, 7.3):
        now[0] = moment
        assert policy.rerun(policy.predict(here, plan)).mode == 'rerun'
        asked.append(link.asked)
    assert asked == [1, 1, 2, 2, 3, 4]
    assert policy.verified_here == 6


def test_what_is_verified_elsewhere_is_learnt_here_and_a_server_has_nothing_to_learn(local):
    remote = RemotePolicy(Late(), contract_of(local.manifest), local.manifest, local, 1.0)
    policy = VerifiedPolicy(local, remote, 0.4)
    assert not policy.learns and not hasattr(remote, 'learn')
    told = []
    local.engine.prepare_for = told.append
    try:
        assert policy.learns
        policy.learn('pick up the red cube')
        assert len(told) == 1
    finally:
        del local.engine.prepare_for
        local._learnt = ''


def test_a_full_pass_of_the_server_is_what_the_loop_verifies_with_in_the_models_process(
    bundle, local, server, opened
):
    config = EngineConfig(path=str(bundle), rerun_where='remote', remote_url=server.url,
                          warmup_runs=0, **QUICK)  # fmt: skip
    policy = opened(ProcessPolicy(config))
    here, layout = seen(local.manifest), local.engine.layout
    for _ in range(2000):
        again = policy.rerun(policy.predict(here, open_jump(layout)))
        if policy.link['verified'] != '0':
            break
    assert 'remote' in again.stage_seconds
    wanted = local.predict(here, layout.full_plan())
    np.testing.assert_allclose(again.normalised, wanted.normalised, atol=1e-9)


@pytest.mark.parametrize(
    ('values', 'field'),
    [
        ({'engine.backend': 'remote'}, 'remote.url'),
        ({'rerun.where': 'remote'}, 'remote.url'),
        ({'engine.backend': 'remote', 'remote.url': 'ws://a', 'rerun.where': 'remote'},
         'rerun.where'),
        ({'engine.backend': 'remote', 'remote.url': 'ws://a', 'skip.mode': 'compare'},
         'skip.mode'),
        ({'engine.backend': 'remote', 'remote.url': 'ws://a', 'remote.deadline_s': 5.0},
         'remote.deadline_s'),
        ({'rerun.where': 'remote', 'remote.url': 'ws://a', 'rerun.deadline_s': 5.0},
         'rerun.deadline_s'),
        ({'remote.deadline_s': 0.0}, 'remote.deadline_s'),
        ({'rerun.where': 'there'}, 'rerun.where'),
    ],
)  # fmt: skip
def test_parameters_that_cannot_work_are_refused_by_name(values, field):
    with pytest.raises(ConfigError) as found:
        from_flat(values)
    assert found.value.field == field


def test_a_token_file_and_certificates_that_are_none_are_refused(bundle, tmp_path):
    empty = tmp_path / 'empty'
    empty.write_text('')
    for changes, field in (
        ({'remote_token_file': str(empty)}, 'remote.token_file'),
        ({'remote_token_file': str(tmp_path / 'none')}, 'remote.token_file'),
        ({'remote_ca_file': str(empty)}, 'remote.ca_file'),
        ({'remote_url': 'http://a'}, 'remote.url'),
    ):
        config = replace(settings_of(bundle, 'wss://127.0.0.1:1'), **changes)
        with pytest.raises(ConfigError) as found:
            open_anywhere(config)
        assert found.value.field == field


# ---- which layers a server runs ---------------------------------------------------------------


@pytest.mark.parametrize('layer', [1, 2, 3])
def test_a_fixed_exit_of_this_side_is_the_exit_of_the_servers_pass(
    bundle, local, server, opened, layer
):
    remote = opened(open_anywhere(settings_of(bundle, server.url))[0])
    here, plan = seen(local.manifest), local.engine.layout.exit_plan(layer)
    found, wanted = remote.predict(here, plan), local.predict(here, plan)
    assert found.trace.layers_run == wanted.trace.layers_run == (*range(layer), 4)
    np.testing.assert_allclose(found.normalised, wanted.normalised, atol=1e-9)


def test_every_controller_live_here_is_every_controller_live_on_the_server(bundle, local, opened):
    asked = []

    class Kept:
        address = type('Address', (), {'url': 'ws://kept'})

        def ask(self, request, deadline_s):
            asked.append(request.get('dysl'))
            raise LinkError('kept')

    remote = RemotePolicy(Kept(), contract_of(local.manifest), local.manifest, local, 1.0)
    layout = local.engine.layout
    guided = SkipPlan(tuple(end - 1 for _, end in layout.segments))
    for plan in (layout.open_plan(), guided, layout.full_plan(), layout.exit_plan(2)):
        with pytest.raises(LinkError):
            remote.predict(seen(local.manifest), plan)
    assert asked == [{'mode': 'max_skip'}, None, {'mode': 'full', 'reset': True},
                     {'mode': 'fixed', 'exit_layer': 2}]  # fmt: skip


def test_the_pass_of_another_exit_is_refused_and_that_of_an_older_server_with_the_same_is_taken(
    local,
):
    """A release before this one left at its bundle's exit whatever was asked."""
    manifest, rows = local.manifest, np.zeros((8, 7))

    class Older:
        address = type('Address', (), {'url': 'ws://older'})

        def ask(self, request, deadline_s):
            return {'actions': rows, 'dysl': {'layers_run': [0, 1, 4], 'layers_total': 5}}

    remote = RemotePolicy(Older(), contract_of(manifest), manifest, local, 1.0)
    taken = remote.predict(seen(manifest), manifest.layout.exit_plan(2))
    assert taken.trace.layers_run == (0, 1, 4)
    with pytest.raises(LinkError, match=r'ran the layers \[0, 1, 4\]: expected an exit at 3'):
        remote.predict(seen(manifest), manifest.layout.exit_plan(3))


def test_a_server_opens_for_a_robot_whose_model_does_not_know_the_word_of_the_blank_question(
    bundle, server, opened
):
    assert 'wait' not in tiny_bundle.WORDS
    remote = opened(open_anywhere(settings_of(bundle, server.url, warmup_runs=1))[0])
    with pytest.raises(InputError, match='knows none of these words'):
        remote.tokens('wait')
