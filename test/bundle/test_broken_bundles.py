"""Bundles with nonsense in them: a BundleError, soon, with little memory, and nothing else."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import math
import shutil
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import manifest_from_dict, manifest_to_dict
from dysl_vla_ros.errors import BundleError

MANY = settings(max_examples=400, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp('bundle'), layers=4)


@pytest.fixture(scope='module')
def document(original):
    return json.loads((original / 'manifest.json').read_text())


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / 'bundle')


def places(tree, path=()):
    """Every place in a document, the root too."""
    yield path
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from places(value, (*path, key))


def deep(levels):
    tree = []
    for _ in range(levels):
        tree = [tree]
    return tree


NONSENSE = [
    None, True, False, 0, 1, -1, -(10**9), 100_000, 2**31, 2**63, 10**400, 10**10_000, 0.5, -0.0,
    1e-300, 1e300, -1e308, math.nan, math.inf, -math.inf, '', 'x', 'x' * 100_000, '\x00', '\ud800',
    '../../etc/passwd', [], {}, [None], [math.nan] * 7, [1e308] * 7, [1e300] * 7, [-1e300] * 7,
    [0] * 100_000, {'x': 1}, {'': {}}, {1: 2}, {'x' * 100_000: 1}, deep(500), deep(100_000),
]  # fmt: skip


@MANY
@given(st.data())
def test_a_manifest_with_a_wrong_value_is_legal_or_gives_a_bundle_error(document, data):
    changed = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(document))))
        action = data.draw(st.sampled_from(['replace', 'replace', 'replace', 'delete', 'add']))
        number = data.draw(st.integers(0, len(NONSENSE) - 1))  # some cannot even be printed
        with contextlib.suppress(KeyError, IndexError, TypeError):  # taken away before
            change(changed, path, action, NONSENSE[number])
    began = time.process_time()
    try:
        manifest = manifest_from_dict(changed)
    except BundleError as error:
        size = len(str(error))
    else:
        size = 0
        assert 1 <= manifest.layers_total <= 1000
        assert all(math.isfinite(x) for x in manifest.calibration.weights)
        assert len(manifest.calibration.weights) == manifest.action.dim
        assert manifest_from_dict(json.loads(json.dumps(manifest_to_dict(manifest)))) == manifest
    assert size < 20_000
    assert time.process_time() - began < 5.0  # a hundred times what it takes


def change(tree, path, action, value):
    if not path:
        return
    *above, last = path
    for key in above:
        tree = tree[key]
    if action == 'delete':
        del tree[last]
    elif action == 'add' and isinstance(tree[last], dict):
        tree[last]['extra'] = value
    else:
        tree[last] = value


@MANY
@given(st.data())
def test_a_manifest_with_a_wrong_byte_is_legal_or_gives_a_bundle_error(original, data):
    path = original / 'manifest.json'
    whole = path.read_bytes()
    altered = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        altered[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(altered)
    try:
        with contextlib.suppress(BundleError):
            open_bundle(original)
    finally:
        path.write_bytes(whole)


def within(document, path, value):
    changed = copy.deepcopy(document)
    change(changed, [int(key) if key.isdigit() else key for key in path.split('/')], '', value)
    return changed


@pytest.mark.parametrize(
    ('path', 'value', 'words'),
    [
        ('layers_total', 100_000, 'layers_total = 100000: expected at most 1000'),
        ('layers_total', -4, 'layers_total = -4: expected at least 1'),
        ('hidden_tokens', 10**9, 'hidden_tokens = 1000000000: expected at most'),
        ('hidden_width', -160, 'hidden_width = -160: expected at least 1'),
        ('hidden_width', 10**400, 'manifest.hidden_width = '),
        ('opset', 0, 'opset = 0: expected at least 1'),
        ('action/horizon', 10**6, 'action.horizon = 1000000: expected at most 1000'),
        ('action/period_s', 1e-300, 'action.period_s = 1e-300: expected at least 0.001'),
        ('action/joint_names', ['a', 'a'], "action.joint_names = ('a', 'a'): expected every name"),
        ('action/normalisation/high/0', 1e300, 'action.normalisation.high = 1e+300'),
        (
            'action/normalisation/high/2',
            11.0,
            'high[2] = 11.0: expected within 10 rad or m a step',
        ),
        ('action/normalisation/low/1', -1e9, 'action.normalisation.low[1] = -1000000000.0'),
        (
            'action/displacement/high/0',
            20.0,
            'action.displacement.high[0] = 20.0: expected within',
        ),
        ('proprioception/normalisation/high/1', 180.0, 'high[1] = 180.0: expected within 100 rad'),
        ('action/normalisation/low/0', -math.inf, 'low[0] = -inf: expected a finite'),
        ('action/displacement/high/0', math.nan, 'displacement.high[0] = nan: expected a finite'),
        ('proprioception/normalisation/low/0', 10**4000, 'normalisation.low[0] = '),
        ('proprioception/dim', -1, 'proprioception.dim = -1: expected at least'),
        ('cameras/0/width', 10**6, 'cameras.image.height, width = (96, 1000000)'),
        ('cameras/0/std/1', 1e-300, 'cameras.image.std = 1e-300: expected within'),
        ('cameras/0/std/1', 1e8, 'cameras.image.std = 100000000.0: expected within 0.001 and 10'),
        ('cameras/0/mean/2', 1e8, 'cameras.image.mean = 100000000.0: expected within 10'),
        ('cameras/0/crop_area', 1e-300, 'cameras.image.crop_area = 1e-300: expected in [0.01, 1]'),
        ('instruction/tokens', 10**9, 'instruction.tokens = 1000000000: expected at most'),
        ('instruction/pad_id', -1, 'instruction.pad_id = -1: expected at least 0'),
        ('instruction/end_id', -7, 'instruction.end_id = -7: expected null, or at least 0'),
        ('calibration/weights/0', math.nan, 'calibration.weights[0] = nan: expected a finite'),
        ('calibration/weights/0', 1e300, 'calibration.weights = 1e+300: expected within'),
        ('calibration/weights', [1.0] * 6, 'calibration.weights = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)'),
        ('calibration/window', 10**9, 'calibration.window = 1000000000: expected at most 100'),
        ('calibration/eta', 1e300, 'calibration.eta, threshold, level_low, level_high = 1e+300'),
        ('segments/head/inputs/0/shape/1', -1, 'segments.head.inputs.hidden.shape = (1, -1,'),
        ('segments/head/inputs/0/shape', [10**9, 10**9], 'expected at most 268435456 numbers'),
        ('segments/head/inputs/0/dtype', 'object', "dtype = 'object': expected one of float32"),
        ('files/tokenizer.json/bytes', -1, 'files.tokenizer.json.bytes = -1: expected at least 0'),
        ('files/tokenizer.json/sha256', '0', "files.tokenizer.json.sha256 = '0': expected 64"),
        ('name', 'x' * 100_000, "manifest.name = 'xxx"),
        ('card', deep(100), 'manifest.card'),
    ],
)
def test_a_number_that_nobody_means_is_named(document, path, value, words):
    with pytest.raises(BundleError) as caught:
        manifest_from_dict(within(document, path, value))
    assert words in str(caught.value) and len(str(caught.value)) < 2000


TEXTS = {
    'ten thousand digits': (
        lambda t: t.replace('"layers_total": 4', '"layers_total": ' + '9' * 10_000),
        'layers_total = inf'),
    'a float of ten thousand digits': (
        lambda t: t.replace('"layers_total": 4', '"layers_total": 4.' + '9' * 10_000),
        'layers_total = 5.0: expected a int'),
    'a large exponent': (lambda t: t.replace('"eta": 0.02', '"eta": 1e400'), 'eta = inf'),
    'NaN': (lambda t: t.replace('"eta": 0.02', '"eta": NaN'), 'eta = nan'),
    'a key twice': (lambda t: t.replace('"name": "tiny"', '"name": "tiny", "name": "other"'),
                    "'name' stands twice"),
    'deep lists': (lambda t: t.replace('"name": "tiny"', '"name": ' + '[' * 100_000),
                   'nested too deeply'),
    'deep objects': (lambda t: '{"a":' * 100_000, 'nested too deeply'),
    'many megabytes': (lambda t: t + ' ' * (5 << 20), 'expected at most 4194304'),
    'a long list': (lambda t: t.replace('"static_layers": [', '"static_layers": [' + '0,' * 10**6),
                    'expected at most 10000 entries'),
    'many keys': (lambda t: t.replace('"files": {', '"files": {' + ''.join(
        f'"{n}": 0,' for n in range(100_000))), 'expected at most 10000 keys'),
    'many keys, one twice': (lambda t: '{' + ''.join(f'"{n}": 0,' for n in range(100_000))
                             + '"99999": 0}', "'99999' stands twice"),
    'half a character': (lambda t: t.replace('"name": "tiny"', '"name": "\\ud800"'), 'UTF-8'),
    'nothing': (lambda t: '', 'not valid JSON'),
    'a number': (lambda t: '1', "manifest = 'int': expected an object"),
}  # fmt: skip


@pytest.mark.parametrize('name', TEXTS)
def test_a_manifest_that_is_meant_to_hurt_is_refused_soon_and_with_little_memory(folder, name):
    spoil, words = TEXTS[name]
    path = folder / 'manifest.json'
    text = path.read_text()
    changed = spoil(text)
    assert changed != text
    path.write_text(changed)
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(BundleError) as caught:
            open_bundle(folder)
        seconds, (_, most) = time.process_time() - began, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert words in str(caught.value) and len(str(caught.value)) < 20_000
    assert seconds < 10.0 and most < 200 << 20


def test_a_manifest_that_is_not_utf8_or_no_file_is_refused(folder):
    path = folder / 'manifest.json'
    path.write_bytes(b'{"name": "\xff"}')
    with pytest.raises(BundleError, match='not valid JSON'):
        open_bundle(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(BundleError, match=r'no manifest\.json'):
        open_bundle(folder)


# ---- ids ---------------------------------------------------------------------------------------


def with_tokenizer(folder, change_tokenizer):
    """Change the tokenizer, and its checksum with it."""
    place, path = folder / 'tokenizer.json', folder / 'manifest.json'
    tokenizer, manifest = json.loads(place.read_text()), json.loads(path.read_text())
    place.write_text(json.dumps(change_tokenizer(tokenizer)))
    data = place.read_bytes()
    entry = {'sha256': hashlib.sha256(data).hexdigest(), 'bytes': len(data)}
    manifest['files']['tokenizer.json'] = entry
    path.write_text(json.dumps(manifest))


def rows(folder):
    from dysl_vla_ros.bundle.onnx_wire import looked_up_rows

    return looked_up_rows(folder / 'segments/embed.onnx', 'tokens')


@pytest.mark.parametrize('name', ['vocabulary', 'added', 'post processor', 'negative', 'a word'])
def test_a_token_without_a_row_in_the_embedding_is_named(folder, name):
    beyond = {'negative': -1, 'a word': 'ten'}.get(name, rows(folder))

    def spoil(tokenizer):
        if name == 'added':
            tokenizer['added_tokens'] = [{'id': beyond, 'content': 'robot'}]
        elif name == 'post processor':
            tokenizer['post_processor'] = {'special_tokens': {'robot': {'ids': [beyond]}}}
        else:
            tokenizer['model']['vocab']['robot'] = beyond
        return tokenizer

    with_tokenizer(folder, spoil)
    with pytest.raises(BundleError, match=f"tokenizer.json: 'robot' = .*{rows(folder) - 1}]"):
        open_bundle(folder)


def test_the_last_row_of_the_embedding_may_be_used(folder):
    def spoil(tokenizer):
        tokenizer['model']['vocab']['robot'] = rows(folder) - 1
        return tokenizer

    with_tokenizer(folder, spoil)
    assert open_bundle(folder)


@pytest.mark.parametrize('name', ['pad_id', 'end_id'])
def test_padding_and_end_have_a_row_too(folder, document, name):
    changed = within(document, f'instruction/{name}', 10**6)
    (folder / 'manifest.json').write_text(json.dumps(changed))
    with pytest.raises(BundleError, match=f"'instruction.{name}' = 1000000: expected an id"):
        open_bundle(folder)


@pytest.mark.parametrize('document', [[], 'x', 1, None, {'model': []}, {'model': {'vocab': 1}}])
def test_a_tokenizer_of_another_shape_ends_in_nothing_but_a_bundle_error(folder, document):
    with_tokenizer(folder, lambda tokenizer: document)
    with contextlib.suppress(BundleError):
        open_bundle(folder)


def test_targets_may_lie_farther_than_steps_but_not_in_degrees(document):
    action = document['action'] | {'space': 'eef_pose'}
    near, far = ({**action['normalisation'], 'high': [high, *action['normalisation']['high'][1:]]}
                 for high in (99.0, 180.0))  # fmt: skip
    manifest_from_dict({**document, 'action': action | {'normalisation': near}})
    with pytest.raises(BundleError, match=r'high\[0\] = 180.0: expected within 100 rad or m$'):
        manifest_from_dict({**document, 'action': action | {'normalisation': far}})


def test_the_numbers_of_a_gripper_have_units_of_their_own(document):
    changed = within(document, 'proprioception/normalisation/high/6', 850.0)
    assert manifest_from_dict(changed).proprioception.normalisation.high[6] == 850.0


@pytest.mark.parametrize('name', ['pad_id', 'end_id'])
def test_padding_and_end_are_no_words(folder, document, name):
    words = json.loads((folder / 'tokenizer.json').read_text())['model']['vocab']
    changed = within(document, f'instruction/{name}', words['cube'])
    (folder / 'manifest.json').write_text(json.dumps(changed))
    with pytest.raises(BundleError, match=f"{name} = {words['cube']}: expected a token that is no "
                       "word: this one is 'cube'"):  # fmt: skip
        open_bundle(folder)
