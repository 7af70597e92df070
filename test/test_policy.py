"""One observation in, one chunk out; over the real engine protocol, without a model."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from dysl_vla_ros.bundle.manifest import CameraSpec, NormalisationSpec, ProprioceptionSpec
from dysl_vla_ros.bundle.no_files import COUNTS_WORDS
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import LayerLayout, Observation, SkipPlan
from dysl_vla_ros.engines.check import blank_inputs
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.errors import BundleError, EngineError, InputError
from dysl_vla_ros.policy import (
    MAX_INSTRUCTION_BYTES,
    Policy,
    instruction_tokens,
    load_tokenizer,
    open_policy,
    open_with_tokenizer,
)

LAYOUT = LayerLayout(6, (0, 3, 5))
FULL = LAYOUT.full_plan()
EAGER = SkipPlan((1, 4))
BASE = fake_manifest(6, (0, 3, 5))
JOINTS = np.array([0.1, -0.2, 0.3, -0.4, 0.5, -0.6])


def planned(inputs):
    """Actions that depend on what the model was given."""
    return np.full((8, 7), 0.1) + inputs['proprioception'][0, 0]


def policy(manifest=BASE, clock=None, **engine):
    engine.setdefault('actions', planned)
    made = FakeEngine(LAYOUT, **engine)
    counting = itertools.count()
    tokenizer = load_tokenizer(manifest, COUNTS_WORDS)
    return Policy(made, manifest, tokenizer, clock or (lambda: float(next(counting))))


def observation(**changes):
    values = {
        'stamp': 4.5, 'images': {'image': np.full((96, 96, 3), 255, np.uint8)}, 'joints': JOINTS,
        'gripper': 0.5, 'instruction': 'Pick  it up',
    }  # fmt: skip
    return Observation(**{**values, **changes})


def message(error, call):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# ---- passes ------------------------------------------------------------------------------------


def test_a_full_pass_runs_every_layer_and_gives_the_actions_of_its_observation():
    model = policy()
    found = model.predict(observation(), FULL)
    assert model.engine.layers_run == [0, 1, 2, 3, 4, 5]
    assert found.normalised == pytest.approx(np.full((8, 7), 0.2))
    assert (found.mode, found.stamp, found.instruction) == ('full', 4.5, 'Pick  it up')
    assert not found.changed and found.compared is None
    assert found.trace.resume_layer is None


def test_a_pass_that_jumps_is_called_skipped_and_its_rerun_equals_a_full_pass():
    """Poisoned buffers: whatever is read after its time is not a number."""
    model = policy(gates={1: 0.9, 4: 0.9}, bridge_error=0.3, poison=True)
    first = model.predict(observation(), EAGER)
    assert first.mode == 'skipped' and first.trace.layers_run == (0, 3, 5)
    assert first.normalised == pytest.approx(np.full((8, 7), 0.8))
    before = len(model.engine.calls)
    again = model.rerun(first)
    assert ('encode',) not in model.engine.calls[before:]
    assert again.trace.layers_run == (1, 2, 3, 4, 5)
    assert (again.mode, again.stamp, again.instruction) == ('rerun', 4.5, 'Pick  it up')
    resumed = model.engine.fingerprint
    whole = model.predict(observation(), FULL)
    assert np.array_equal(again.normalised, whole.normalised)
    assert model.engine.fingerprint == resumed
    assert again.changed


def test_a_rerun_that_changes_little_is_said_to_change_nothing():
    model = policy(gates={1: 0.9}, bridge_error=0.049)
    assert not model.rerun(model.predict(observation(), EAGER)).changed
    model = policy(gates={1: 0.9}, bridge_error=0.051)
    assert model.rerun(model.predict(observation(), EAGER)).changed


def test_a_rerun_of_a_pass_that_skipped_nothing_is_refused():
    model = policy()
    first = model.predict(observation(), FULL)
    assert message(EngineError, lambda: model.rerun(first)) == (
        'a full pass without a jump: expected a skipped pass'
    )


def test_comparing_encodes_once_and_gives_the_full_pass_with_the_skipped_one_in_it():
    model = policy(gates={1: 0.9}, bridge_error=0.3, poison=True)
    both = model.compare(observation(), EAGER)
    assert model.engine.calls.count(('encode',)) == 1
    assert both.mode == 'full' and both.compared.mode == 'skipped'
    assert both.normalised == pytest.approx(np.full((8, 7), 0.2))
    assert both.compared.normalised == pytest.approx(np.full((8, 7), 0.5))
    assert both.changed and not both.compared.changed
    equal = policy().compare(observation(), EAGER)
    assert not equal.changed and equal.compared.mode == 'full'


def test_every_stage_is_timed():
    """The clock counts its calls: 0, 1 prepared, 2 encoded; then 3 begun, 4 run, 5 decoded."""
    model = policy(gates={1: 0.9})
    first = model.predict(observation(), EAGER)
    assert first.stage_seconds == {'preprocess': 1.0, 'encode': 1.0, 'backbone': 1.0,
                                   'decode': 1.0}  # fmt: skip
    assert model.rerun(first).stage_seconds == {'backbone': 1.0, 'decode': 1.0}


def test_actions_of_another_shape_are_refused():
    odd = replace(BASE, action=replace(BASE.action, horizon=9))
    assert message(EngineError, lambda: policy(odd).predict(observation(), FULL)) == (
        'actions of shape (8, 7): expected (9, 7)'
    )


def test_a_plan_that_does_not_fit_the_layers_is_refused():
    with pytest.raises(EngineError, match='plan.allow has 1 points: expected 2'):
        policy().predict(observation(), SkipPlan((1,)))


# ---- what the model is given -------------------------------------------------------------------


def test_images_tokens_and_proprioception_have_the_contract_s_shapes_and_types():
    inputs = policy().prepare(observation())
    assert {name: (part.shape, part.dtype) for name, part in inputs.items()} == {
        'image': ((1, 3, 96, 96), np.float32),
        'tokens': ((1, 64), np.int64),
        'proprioception': ((1, 7), np.float32),
    }
    assert inputs['proprioception'][0] == pytest.approx([*JOINTS, 0.5])
    assert inputs['image'].max() == pytest.approx(1.0)  # mean and deviation 0.5


def test_each_camera_is_prepared_as_its_own_contract_says():
    cameras = (
        CameraSpec('image', 96, 96, rotate_180=True),
        CameraSpec('wrist', 48, 48, crop_area=0.25, mean=(0.0,) * 3, std=(0.25,) * 3),
    )
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[:10, :10] = 255
    middle = np.zeros((96, 96, 3), np.uint8)
    middle[24:72, 24:72] = 255
    inputs = policy(replace(BASE, cameras=cameras)).prepare(
        observation(images={'image': picture, 'wrist': middle})
    )
    assert inputs['image'][0, 0, -1, -1] == 1.0 and inputs['image'][0, 0, 0, 0] == -1.0
    assert inputs['wrist'].shape == (1, 3, 48, 48) and (inputs['wrist'] == 4.0).all()


def test_a_missing_camera_is_named_with_those_that_came():
    two = replace(BASE, cameras=(*BASE.cameras, CameraSpec('wrist', 64, 64)))
    assert message(InputError, lambda: policy(two).prepare(observation())) == (
        "images = ['image']: expected 'wrist' too"
    )


def test_a_model_without_proprioception_gets_none():
    nothing = ProprioceptionSpec(0, False, NormalisationSpec((), (), ()))
    blind = replace(BASE, proprioception=nothing)
    assert 'proprioception' not in policy(blind).prepare(observation())


def proprioception(clip=False, gripper=True, **changes):
    size = 6 + int(gripper)
    scale = NormalisationSpec((0.0,) * size, (0.5,) * size, (True,) * size)
    given = replace(BASE, proprioception=ProprioceptionSpec(size, gripper, scale, clip))
    return policy(given).prepare(observation(**changes))['proprioception'][0]


def test_proprioception_is_normalised_and_clipped_where_the_contract_says_so():
    plain = [4 * value - 1 for value in (*JOINTS, 0.5)]
    assert proprioception() == pytest.approx(plain)
    assert proprioception(clip=True) == pytest.approx(np.clip(plain, -1.0, 1.0))
    assert proprioception(gripper=False).shape == (6,)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'joints': np.zeros(5)}, 'joints of shape (5,): expected (6,)'),
        ({'joints': np.array([0, 0, np.nan, 0, 0, 0.0])},
         'joints: elbow_joint = nan: expected a finite number'),
        ({'gripper': None}, 'gripper = None: expected its measured opening, 0 to 1'),
        ({'gripper': np.inf}, 'joints: gripper = inf: expected a finite number'),
    ],
)  # fmt: skip
def test_joints_that_do_not_fit_are_refused_by_name(changes, words):
    assert message(InputError, lambda: policy().prepare(observation(**changes))) == words


def test_where_the_bundle_names_no_joints_they_are_counted():
    nameless = replace(BASE, action=replace(BASE.action, joint_names=()))
    bad = observation(joints=np.array([0, np.inf, 0, 0, 0, 0.0]))
    assert message(InputError, lambda: policy(nameless).prepare(bad)) == (
        'joints: 1 = inf: expected a finite number'
    )


# ---- instructions -----------------------------------------------------------------------------


def spelled(words, **spec):
    """Tokens under a vocabulary of three words."""
    vocabulary = '"[PAD]": 0, "[UNK]": 1, "pick": 2, "it": 3, "please": 4'
    text = COUNTS_WORDS.replace('"[PAD]": 0, "[UNK]": 1', vocabulary)
    text = text.replace('{"type": "Lowercase"}', 'null')
    given = replace(BASE, instruction=replace(BASE.instruction, **{'tokens': 6, **spec}))
    model = Policy(FakeEngine(LAYOUT), given, load_tokenizer(given, text))
    return model.tokens(words)[0].tolist()


def test_an_instruction_becomes_tokens_padded_to_the_model_s_length():
    assert spelled(' Pick it ') == [2, 3, 0, 0, 0, 0]
    assert spelled('Pick it', lowercase=False) == [1, 3, 0, 0, 0, 0]
    assert spelled('pick', template='please {instruction} it', pad_id=9) == [4, 2, 3, 9, 9, 9]


def test_an_end_is_added_unless_it_stands_there():
    assert spelled('pick', end_id=3) == [2, 3, 0, 0, 0, 0]
    assert spelled('pick it', end_id=3) == [2, 3, 0, 0, 0, 0]


def test_as_many_tokens_as_the_model_takes_are_taken_and_one_more_is_refused():
    assert spelled('pick it pick it pick it') == [2, 3] * 3
    assert message(InputError, lambda: spelled('pick it pick it pick it pick')) == (
        "instruction = 'pick it pick it pick it pick': 7 tokens, expected 1 to 6; say it in fewer "
        'words'
    )
    assert '7 tokens' in message(InputError, lambda: spelled('it ' * 6, end_id=2))


@pytest.mark.parametrize('empty', ['', '   ', '\n'])
def test_an_empty_instruction_is_refused(empty):
    assert message(InputError, lambda: policy().tokens(empty)) == (
        f'instruction = {empty!r}: expected a sentence, "pick the ..."'
    )


@pytest.mark.parametrize(
    ('text', 'size'),
    [('a' * 4097, '4097 bytes or more'), ('é' * 2049, '4098 bytes'), (' ' * 4097, '4097 bytes')],
)
def test_an_instruction_of_too_many_bytes_is_refused_before_it_is_read(text, size):
    words = message(InputError, lambda: policy().tokens(text))
    assert words.startswith(f'instruction = {text[:20]!r}...: {size}')
    assert words.endswith(f'expected at most {MAX_INSTRUCTION_BYTES}')


def test_text_that_is_not_utf_8_is_refused():
    words = message(InputError, lambda: policy().tokens('pick \udc80'))
    assert words.startswith("instruction = 'pick \\udc80': ") and words.endswith('expected UTF-8')


@pytest.mark.parametrize('how', ['an unknown word', 'a panic'])
def test_an_instruction_that_the_tokenizer_fails_on_is_refused_with_its_reason(how):
    """Its errors are plain exceptions, and a panic of the library is not even that."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    library = Tokenizer(models.WordLevel({'pick': 0, 'up': 1}, '[UNK]'))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if how == 'a panic':
        library.pre_tokenizer = pre_tokenizers.Split(Regex('(?:a|aa|b)+$'), 'isolated')
    words = message(
        InputError,
        lambda: instruction_tokens(BASE.instruction, library, 'pick ' + 'a' * 300 + 'c'),
    )
    assert words.startswith("instruction = 'pick aaa") and words.endswith('in other words')
    assert 'the tokenizer cannot read it (' in words


def test_a_tokenizer_file_that_the_library_does_not_take_is_an_error_of_the_bundle():
    words = message(BundleError, lambda: load_tokenizer(BASE, '{"version": "9"}'))
    assert words.startswith('tokenizer.json: ')
    assert words.endswith('; expected a file of the tokenizers library')


# ---- opening ----------------------------------------------------------------------------------


def test_a_warm_up_runs_in_full_as_often_as_asked_and_once_through_every_adapter():
    model = policy()
    model.warm_up(2)
    assert model.engine.calls.count(('encode',)) == 2 + 2  # the longer segment has two layers
    assert sorted(model.engine.called('bridge')) == [1, 2, 4]
    idle = policy()
    idle.warm_up(0)
    assert idle.engine.calls == []


def test_weights_that_give_no_numbers_are_found_before_anything_moves():
    broken = policy(actions=lambda inputs: np.full((8, 7), np.nan))
    assert message(EngineError, lambda: broken.warm_up(1)) == (
        'bundle fake: a blank observation gives actions that are not finite; the weights are '
        'broken: export it again'
    )


def test_the_fake_bundle_opens_warmed_up_and_with_its_tokenizer():
    model, tokenizer = open_with_tokenizer(EngineConfig(path='fake', warmup_runs=1))
    assert tokenizer == COUNTS_WORDS
    assert model.engine.calls.count(('decode',)) >= 2
    still = open_policy(EngineConfig(path='fake', warmup_runs=0))
    assert still.engine.calls == [] and still.manifest.name == 'fake'


def test_an_engine_that_prepares_is_told_each_new_instruction_once_and_others_nothing():
    told = []
    policy = open_policy(EngineConfig(path='fake'))
    policy.learn('')  # nobody reads it
    assert not policy.learns
    policy.engine.prepare_for = told.append
    assert policy.learns
    for text in ('go on', 'go on', 'go back', 'go on'):
        policy.learn(text)
    assert [int((one['tokens'] != 0).sum()) for one in told] == [2, 2, 2]
    assert set(told[0]) == set(blank_inputs(policy.manifest))
    with pytest.raises(InputError, match='instruction'):
        policy.learn('')


# ---- words that the model does not know -------------------------------------------------------


def listed(*words):
    """A policy whose model knows these words."""
    vocabulary = ', '.join(f'"{word}": {n}' for n, word in enumerate(('[PAD]', '[UNK]', *words)))
    text = COUNTS_WORDS.replace('"[PAD]": 0, "[UNK]": 1', vocabulary)
    return Policy(FakeEngine(LAYOUT), BASE, load_tokenizer(BASE, text))


@pytest.mark.parametrize(
    'text', ['stop', 'STOP!', '拿起红色方块', 'heb den Würfel auf', '🙂', '...']
)
def test_an_instruction_of_which_the_model_knows_no_word_is_refused_with_words_that_it_knows(text):
    words = message(InputError, lambda: listed('pick', 'it', 'up', '!').tokens(text))
    assert words.startswith(f'instruction = {text!r}: the model knows none of these words: ')
    assert 'pick' in words


@pytest.mark.parametrize('text', ['pick', 'Pick now', 'kindly PICK it, robot'])
def test_an_instruction_with_a_word_that_is_known_is_taken(text):
    assert 2 in listed('pick', 'it').tokens(text)


def test_signs_count_where_an_instruction_is_made_of_them_alone():
    assert listed('🙂').tokens('🙂')[0, 0] == 2


def test_a_tokenizer_that_only_counts_words_knows_none_and_refuses_none():
    model = Policy(FakeEngine(LAYOUT), BASE, load_tokenizer(BASE, COUNTS_WORDS))
    assert model.tokens('stop')[0, 0] == 1
    assert model.unknown_words('stop') == () and model.readable('stop') == 'stop'


def test_words_that_are_not_known_are_named_once_per_instruction(caplog):
    model = listed('pick', 'it')
    seen = replace(observation(), instruction='pick it gently, robot')
    for _ in range(3):
        model.predict(seen, LAYOUT.full_plan())
    told = [record.getMessage() for record in caplog.records]
    assert told == ["instruction 'pick it gently, robot': the model does not know gently, robot"]
    assert model.unknown_words('pick the it') == ('the',)


def test_made_up_observations_are_told_a_word_that_the_model_knows():
    assert listed('touch', 'it').readable('pick up the red cube') == 'touch'
    assert listed('touch', 'it').readable('touch the red cube') == 'touch the red cube'
