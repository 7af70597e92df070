"""The policy in its own process, with real children: the same answers, and every way to die."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros import policy as in_process
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import (
    BundleError,
    ConfigError,
    EngineError,
    InputError,
    ModelProcessError,
)
from dysl_vla_ros.policy_process import client as client_module
from dysl_vla_ros.policy_process.client import ProcessPolicy
from dysl_vla_ros.policy_process.open_policy import open_policy

BAD = Path(__file__).with_name('bad_server.py')
FAKE = EngineConfig(path='fake', pass_timeout_s=0.5, warmup_runs=0)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', layers=5)


@pytest.fixture
def opened():
    made = []

    def open_one(config=FAKE, **options):
        made.append(ProcessPolicy(config, **options))
        return made[-1]

    yield open_one
    for policy in made:
        policy.engine.close()


def bad(mode):
    return sys.executable, str(BAD), mode


def observe(manifest, stamp=7.5, **changes):
    rng = np.random.default_rng(1)
    images = {
        camera.name: rng.integers(0, 255, (camera.height, camera.width, 3), dtype=np.uint8)
        for camera in manifest.cameras
    }
    joints = np.linspace(-0.3, 0.4, manifest.proprioception.dim - 1)
    return replace(Observation(stamp, images, joints, 0.5, 'pick up the red cube'), **changes)


def predict(policy, **changes):
    return policy.predict(observe(policy.manifest, **changes), policy.manifest.layout.full_plan())


def same_pass(one, other):
    assert one.normalised.tobytes() == other.normalised.tobytes()
    assert (one.stamp, one.instruction, one.mode) == (other.stamp, other.instruction, other.mode)
    assert (one.trace, one.changed) == (other.trace, other.changed)
    assert list(one.stage_seconds) == list(other.stage_seconds)


def wait_until(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'not in time'
        time.sleep(0.005)


# ---- the same policy ---------------------------------------------------------------------------


def test_it_gives_the_same_bits_as_the_policy_in_this_process(bundle, opened):
    config = EngineConfig(path=str(bundle))
    here, there = in_process.open_policy(config), opened(config)
    assert there.manifest == here.manifest
    assert there.engine.device == here.engine.device
    plan = replace(here.manifest.layout.open_plan(), controllers='open')
    observation = observe(here.manifest)
    first, other = here.predict(observation, plan), there.predict(observation, plan)
    assert first.trace.jumps and first.trace.scores == {}
    same_pass(first, other)
    same_pass(here.rerun(first), there.rerun(other))
    both = [policy.compare(observation, plan) for policy in (here, there)]
    same_pass(*both)
    same_pass(both[0].compared, both[1].compared)
    watched = here.manifest.layout.watched_plan()
    same_pass(here.predict(observation, watched), there.predict(observation, watched))
    here.engine.close()


def test_instructions_are_checked_on_this_side_also_when_the_process_stands_still(bundle, opened):
    config = EngineConfig(path=str(bundle))
    here, there = in_process.open_policy(config), opened(config)
    os.kill(there.pid, signal.SIGSTOP)
    text = 'Pick up the RED cube'
    assert there.tokens(text).tolist() == here.tokens(text).tolist()
    with pytest.raises(InputError, match='say it in fewer words'):
        there.tokens('red ' * 100)
    here.engine.close()


def test_what_the_policy_refuses_is_refused_with_the_same_class_and_text(bundle, opened):
    config = EngineConfig(path=str(bundle))
    here, there = in_process.open_policy(config), opened(config)
    full = here.manifest.layout.full_plan()
    wrong = [
        (observe(here.manifest, images={}), full),
        (observe(here.manifest, joints=np.full(6, np.nan)), full),
        (observe(here.manifest, gripper=None), full),
        (observe(here.manifest, instruction=''), full),
        (observe(here.manifest), replace(full, allow=(1, 2, 3, 4))),
    ]
    for observation, plan in wrong:
        errors = []
        for policy in (here, there):
            with pytest.raises((InputError, EngineError)) as caught:
                policy.predict(observation, plan)
            errors.append(caught.value)
        assert type(errors[0]) is type(errors[1]) and str(errors[0]) == str(errors[1])
    assert there.alive and predict(there).mode == 'full'
    here.engine.close()


def test_images_that_no_camera_has_stay_here_and_too_large_ones_are_refused(opened, monkeypatch):
    policy = opened()
    known = observe(policy.manifest).images
    huge = np.broadcast_to(np.uint8(0), (20_000, 20_000, 3))
    assert predict(policy, images={**known, 'other': huge}).mode == 'full'
    with pytest.raises(InputError, match='expected at most 134217728 in all'):
        predict(policy, images={'image': huge})
    with pytest.raises(InputError, match='of type object: expected one of uint8'):
        predict(policy, images={'image': np.array([None])})
    assert policy.alive


def test_the_choice_is_one_parameter():
    inside = open_policy(replace(FAKE, in_process=True))
    assert isinstance(inside, in_process.Policy)
    outside = open_policy(FAKE)
    assert isinstance(outside, ProcessPolicy)
    outside.engine.close()
    assert not outside.alive


@pytest.mark.parametrize(
    ('mode', 'kind', 'words'),
    [
        ('bundle_error', BundleError, 'layer_03.onnx: SHA-256 differs$'),
        ('config_error', ConfigError, "engine.plans = '/nowhere': expected a folder"),
        ('open_dies', ModelProcessError, 'died of SIGABRT, while it opened the bundle'),
        ('open_hangs', ModelProcessError, 'hung: no answer in 1 s .killed., while it opened'),
    ],
)
def test_what_goes_wrong_at_opening_is_said_as_in_this_process(mode, kind, words):
    with pytest.raises(kind, match=words) as caught:
        ProcessPolicy(FAKE, server=bad(mode), open_timeout=1.0 if 'hangs' in mode else 30.0)
    assert type(caught.value) is kind
    if kind is ConfigError:
        assert caught.value.field == 'engine.plans'


def test_a_bundle_that_is_not_there_is_the_same_error_as_in_this_process(tmp_path):
    config = EngineConfig(path=str(tmp_path))
    texts = []
    for make in (in_process.open_policy, ProcessPolicy):
        with pytest.raises(BundleError) as caught:
            make(config)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


# ---- how it can die ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('mode', 'words'),
    [
        ('segv', 'died of SIGSEGV$'),
        ('exit', 'ended with exit code 3$'),
        ('memory', 'ran out of memory$'),
        ('close', 'closed its connection and went on .killed.'),
        ('hang', 'hung: no answer in 0.5 s .killed.'),
        ('drip', 'hung: no answer in 0.5 s .killed.'),
        ('garbage', "nonsense: message begins with .* expected b'dysl'"),
        ('long_header', 'nonsense: header of 4294967295 bytes: expected at most'),
        ('long_body', 'nonsense: body of 1152921504606846976 bytes: expected at most'),
        ('deep', 'nonsense: header: .* expected JSON'),
        ('empty', "nonsense: token = 'None': expected an int"),
        ('short', r'nonsense: normalised: .*\(7, 7\).*: expected float64, \(8, 7\)'),
        ('layers', r'nonsense: layers_run = \[0, 99\]: expected layers from 0 to 23'),
        ('token', "nonsense: token = 'one': expected an int"),
        ('kind', "nonsense: answer 'opened': expected a pass"),
    ],
)
def test_each_way_to_fail_is_named_in_time_and_another_process_can_be_started(opened, mode, words):
    policy = opened(server=bad(mode))
    begun = time.monotonic()
    with pytest.raises(ModelProcessError, match=words):
        predict(policy)
    assert time.monotonic() - begun < FAKE.pass_timeout_s + 2.0
    assert not policy.alive
    with pytest.raises(ModelProcessError):  # it stays dead, and says so at once
        predict(policy)
    policy._server = client_module.SERVER
    policy.restart()
    assert predict(policy).mode == 'full'
    assert policy.restarts == 1
    assert re.search(words, policy.last_end)


@pytest.mark.parametrize(
    ('mode', 'words'),
    [
        ('engine_error', 'cuStreamSynchronize: CUDA_ERROR_UNKNOWN .999.$'),
        ('bug', r"ZeroDivisionError\('a bug'\)"),
    ],
)
def test_an_error_of_a_living_engine_is_its_own_and_the_process_stays(opened, mode, words):
    policy = opened(server=bad(mode))
    with pytest.raises(EngineError, match=words) as caught:
        predict(policy)
    assert type(caught.value) is EngineError
    assert policy.alive


def test_what_the_process_logs_appears_here_with_its_traceback(opened, caplog):
    policy = opened(server=bad('bug'))
    with pytest.raises(EngineError):
        predict(policy)
    record = next(r for r in caplog.records if 'predict failed' in r.getMessage())
    assert record.name == 'dysl_vla_ros.policy_process.serve'
    assert 'ZeroDivisionError: a bug' in record.getMessage()


@pytest.mark.parametrize(
    ('number', 'words'),
    [
        (signal.SIGSEGV, 'died of SIGSEGV'),
        (signal.SIGABRT, 'died of SIGABRT'),
        (signal.SIGKILL, 'died of SIGKILL .out of memory, or somebody killed it.'),
    ],
)
def test_a_process_that_died_between_two_passes_is_noticed_and_named(opened, number, words):
    policy = opened()
    os.kill(policy.pid, number)
    wait_until(lambda: not policy.alive)
    with pytest.raises(ModelProcessError, match=words):
        predict(policy)


def test_one_that_stands_still_is_killed_at_the_deadline(opened):
    policy = opened()
    os.kill(policy.pid, signal.SIGSTOP)
    with pytest.raises(ModelProcessError, match='hung: no answer in 0.5 s'):
        predict(policy)
    assert not policy.alive


def test_one_that_goes_on_before_the_deadline_only_answers_late(opened):
    policy = opened(replace(FAKE, pass_timeout_s=30.0))
    os.kill(policy.pid, signal.SIGSTOP)
    timer = threading.Timer(0.3, os.kill, (policy.pid, signal.SIGCONT))
    timer.start()
    assert predict(policy).mode == 'full'
    assert policy.alive


def test_an_answer_that_is_there_is_taken_though_this_process_slept_past_the_deadline(
    opened, monkeypatch
):
    policy = opened()
    from dysl_vla_ros.policy_process import process

    ask = process.Channel.receive

    def late(channel, deadline=None, bounds=None):
        time.sleep(FAKE.pass_timeout_s + 0.2)
        return ask(channel, deadline, bounds)

    monkeypatch.setattr(process.Channel, 'receive', late)
    assert predict(policy).mode == 'full'


def test_the_state_of_a_pass_is_lost_with_its_process_and_after_two_newer_ones(opened):
    policy = opened()
    plan = policy.manifest.layout.open_plan()
    observation = observe(policy.manifest)
    passes = [policy.predict(observation, plan) for _ in range(3)]
    assert policy.rerun(passes[2]).mode == policy.rerun(passes[1]).mode == 'rerun'
    with pytest.raises(EngineError, match='the state of pass 1 is lost'):
        policy.rerun(passes[0])
    with pytest.raises(EngineError, match='a full pass without a jump'):
        policy.rerun(predict(policy))
    policy.kill('was killed by the test')
    policy.restart()
    with pytest.raises(EngineError, match='the model process was restarted') as caught:
        policy.rerun(passes[2])
    assert not isinstance(caught.value, ModelProcessError)
    assert policy.alive


@pytest.mark.parametrize('dies', [True, False])
def test_kill_wakes_the_thread_that_waits_for_a_pass(opened, dies):
    policy = opened(replace(FAKE, pass_timeout_s=60.0))
    os.kill(policy.pid, signal.SIGSTOP)
    child = policy._process._process
    if not dies:  # one that waits for a driver in the kernel does not die at once
        child.kill = lambda: None
    raised = []

    def ask():
        try:
            predict(policy)
        except ModelProcessError as error:
            raised.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.1)
    assert not raised
    with pytest.raises(EngineError, match='another thread'):
        predict(policy)
    policy.kill('was killed by the test')
    thread.join(5)
    assert raised == ['the model process was killed by the test (killed)']
    os.kill(child.pid, signal.SIGKILL)


def test_kill_also_ends_a_process_that_is_just_opening(opened):
    policy = opened(server=bad('hang'))
    policy.kill('was killed by the test')
    policy._server = bad('open_hangs')
    raised = []

    def restart():
        try:
            policy.restart()
        except ModelProcessError as error:
            raised.append(str(error))

    thread = threading.Thread(target=restart)
    before = policy.pid
    thread.start()
    wait_until(lambda: policy.pid != before)
    policy.kill('was killed by the test')
    thread.join(5)
    assert raised and 'was killed by the test' in raised[0]


def test_kill_also_reaches_a_process_that_is_not_there_yet(opened, monkeypatch):
    policy = opened(server=bad('open_hangs_never'))
    policy.kill('was killed by the test')
    policy._server = bad('open_hangs')
    make = client_module.ModelProcess

    def killed_meanwhile(*arguments):
        policy.kill('was killed by the test')
        return make(*arguments)

    monkeypatch.setattr(client_module, 'ModelProcess', killed_meanwhile)
    with pytest.raises(ModelProcessError, match='was killed by the test'):
        policy.restart()
    assert not policy.alive


def test_a_bundle_that_changed_meanwhile_is_not_taken_up_by_a_restart(bundle, tmp_path, opened):
    import shutil

    folder = shutil.copytree(bundle, tmp_path / 'tiny')
    policy = opened(EngineConfig(path=str(folder), warmup_runs=0))
    policy.kill('was killed by the test')
    shutil.rmtree(folder)
    tiny_bundle.write_tiny_bundle(folder, layers=5, seed=9)
    with pytest.raises(BundleError, match='was changed while it ran'):
        policy.restart()
    assert not policy.alive
    shutil.rmtree(folder)
    with pytest.raises(BundleError):
        policy.restart()
    assert policy.last_end.startswith('cannot open the bundle')


# ---- a process among others --------------------------------------------------------------------


def test_it_knows_nothing_of_ros_and_inherits_only_what_it_needs(opened):
    readable, writable = os.pipe()
    os.set_inheritable(writable, True)
    policy = opened()
    try:
        links = set()
        for name in os.listdir(f'/proc/{policy.pid}/fd'):
            links.add(os.readlink(f'/proc/{policy.pid}/fd/{name}'))
        ours = {os.readlink(f'/proc/self/fd/{name}') for name in (1, 2)}
        others = {link for link in links - ours if 'onnxruntime' not in link}
        assert {link.split(':')[0] for link in others} == {'socket', '/memfd', '/dev/null'}
        assert os.readlink(f'/proc/self/fd/{writable}') not in links
        assert 'librcl' not in Path(f'/proc/{policy.pid}/maps').read_text()
    finally:
        os.close(readable)
        os.close(writable)


def test_ctrl_c_does_not_reach_it(opened):
    policy = opened()
    for _ in range(3):
        os.kill(policy.pid, signal.SIGINT)
    assert predict(policy).mode == 'full'


def test_it_ends_when_it_is_closed_and_leaves_no_zombie_or_descriptor(opened):
    opened().engine.close()
    before = len(os.listdir('/proc/self/fd'))
    policy = opened()
    policy.engine.close()
    policy.engine.close()
    assert not Path(f'/proc/{policy.pid}').exists()
    assert len(os.listdir('/proc/self/fd')) <= before
    with pytest.raises(ModelProcessError):
        predict(policy)


@pytest.mark.parametrize('mode', ['stopped', 'running'])
def test_it_dies_with_its_parent_whatever_it_is_doing(mode):
    text = (
        'import os, signal, sys, time\n'
        'from dysl_vla_ros.config import EngineConfig\n'
        'from dysl_vla_ros.policy_process.client import ProcessPolicy\n'
        "policy = ProcessPolicy(EngineConfig(path='fake'))\n"
        "if sys.argv[1] == 'stopped': os.kill(policy.pid, signal.SIGSTOP)\n"
        'print(policy.pid, flush=True)\n'
        'time.sleep(60)\n'
    )
    parent = subprocess.Popen(
        [sys.executable, '-c', text, mode], stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    wait_until(lambda: not is_running(pid))


def is_running(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_outlives_the_thread_that_restarted_it(opened):
    policy = opened()
    policy.kill('was killed by the test')
    thread = threading.Thread(target=policy.restart)
    thread.start()
    thread.join(30)
    time.sleep(0.1)
    assert predict(policy).mode == 'full'


def test_without_descriptors_it_cannot_be_started_which_is_an_error_of_ours(opened):
    policy = opened()
    policy.kill('was killed by the test')
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    policy.last_end  # noqa: B018
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(ModelProcessError, match='cannot be started: .*Too many open files'):
            policy.restart()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    policy.restart()
    assert predict(policy).mode == 'full'


# ---- what an engine does before the passes of an instruction -----------------------------------


def learnt(result):
    return result.stage_seconds['learnt']


def test_what_an_instruction_needs_once_is_no_part_of_a_pass_also_in_a_new_process(opened):
    policy = opened(server=bad('learns'))
    policy.learn('go on')
    assert learnt(predict(policy, instruction='go on')) == 1
    assert learnt(predict(policy, instruction='go on')) == 1
    assert learnt(predict(policy, instruction='go back')) == 2, 'also where nobody called learn'
    policy.kill('was killed by the test')
    policy.restart()
    assert learnt(predict(policy, instruction='go back')) == 1
    assert policy.restarts == 1 and policy.alive


def test_an_engine_that_prepares_nothing_is_not_asked_to(opened, monkeypatch):
    policy, asked = opened(), []
    ask = policy._ask
    monkeypatch.setattr(policy, '_ask', lambda *words: asked.append(words[0].kind) or ask(*words))
    policy.learn('go on')
    predict(policy, instruction='go on')
    assert asked == ['predict']


def test_what_cannot_be_learnt_is_an_error_of_the_engine_and_the_process_stays(opened):
    policy = opened(server=bad('learns_badly'))
    with pytest.raises(EngineError, match='graphs on a card: out of memory') as caught:
        policy.learn('go on')
    assert not isinstance(caught.value, ModelProcessError) and policy.alive
    with pytest.raises(InputError, match='instruction'):
        policy.learn('go ' * 5000)
