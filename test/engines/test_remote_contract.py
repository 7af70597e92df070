"""A contract of a policy server: what is asked and answered is what the file says, both ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.remote.contract import contract_of, fitting, read_contract
from dysl_vla_ros.engines.remote.request import observation_of, request_of, rows_of
from dysl_vla_ros.errors import BundleError, InputError, LinkError

SERVERS = Path(__file__).parents[2] / 'config' / 'servers'
ARM = {
    'name': 'arm',
    'request': {
        'observation': {'picture': 'camera front', 'state': 'state'},
        'grip': 'gripper', 'turns': 'joints', 'prompt': 'instruction', 'type': '=new', 'n': 3,
    },
    'cameras': {'front': {'height': 8, 'width': 8, 'channels_first': True}},
    'state': {'size': 2, 'gripper': True, 'fingers': [[0.0, 0.04], [0.0, -0.04]]},
    'action': {
        'space': 'joint_delta', 'dim': 3, 'horizon': 4, 'period_s': 0.1, 'gripper': True,
        'gripper_closed': 1.0, 'gripper_open': -1.0, 'scale': [0.2, 0.5],
        'joint_names': ['a', 'b'],
    },
}  # fmt: skip


def written(folder, **changes):
    path = folder / 'contract.yaml'
    path.write_text(yaml.safe_dump({**ARM, **changes}, sort_keys=False), encoding='utf-8')
    return path


@pytest.fixture
def contract(tmp_path):
    return read_contract(written(tmp_path))


def observed(**changes):
    picture = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    known = Observation(1.0, {'front': picture}, np.array([0.25, 0.5]), 0.75, ' go ')
    return replace(known, **changes)


def test_a_request_is_nested_as_the_file_says(contract):
    sent = request_of(observed(), contract)
    assert sent['observation']['picture'].shape == (3, 8, 8)
    np.testing.assert_allclose(sent['observation']['state'], [0.25, 0.5, 0.03, -0.03], rtol=1e-6)
    np.testing.assert_allclose(sent['grip'], [0.03, -0.03], rtol=1e-6)
    assert sent['turns'].tolist() == [0.25, 0.5]
    assert (sent['prompt'], sent['type'], sent['n']) == ('go', 'new', 3)


def test_a_server_reads_back_what_a_robot_sent(contract):
    got = observation_of(request_of(observed(), contract), contract, 5.0)
    assert (got.stamp, got.instruction) == (5.0, 'go')
    np.testing.assert_allclose(got.joints, [0.25, 0.5])
    assert got.gripper == pytest.approx(0.75)
    assert got.images['front'].shape == (8, 8, 3)


def test_an_answer_becomes_radians_and_openings_and_back(contract):
    answer = np.array([[0.5, -1.0, 1.0], [0.0, 1.0, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    physical = contract.physical(answer)
    np.testing.assert_allclose(physical[:2], [[0.1, -0.5, 0.0], [0.0, 0.5, 1.0]])
    np.testing.assert_allclose(contract.answer(physical), answer)
    decided = replace(contract, action=replace(contract.action, gripper_threshold=0.4))
    assert decided.answer(physical, decide=True)[:, -1].tolist() == [1.0, -1.0, -1.0, 1.0]


def test_the_manifest_gives_the_same_actions_as_the_contract(contract):
    from dysl_vla_ros.core import transforms

    spec = contract.manifest().action.normalisation
    assert transforms.unnormalise([[1.0, -1.0, 0.3]], spec.low, spec.high, spec.mask).tolist() == [
        [0.2, -0.5, 0.3]
    ]


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'request': {'p': 'instruction'}}, "camera 'front' too"),
        ({'request': {'c': 'camera front'}}, 'the instruction too'),
        ({'request': {'c': 'camera side', 'p': 'instruction'}}, 'camera and one of'),
        ({'request': {'c': 'camera front', 'p': 'Instruction'}}, 'one of instruction'),
        ({'request': {'c': ['camera front'], 'p': 'instruction'}}, 'a text or a number'),
        ({'action': {**ARM['action'], 'scale': [0.2]}}, '2 numbers, or none'),
        ({'action': {**ARM['action'], 'scale': [0.2, 0.0]}}, 'none that is 0'),
        ({'action': {**ARM['action'], 'gripper_open': 1.0}}, 'another number'),
        ({'action': {**ARM['action'], 'space': 'eef_delta'}}, '6 for eef_delta'),
        ({'action': {**ARM['action'], 'horizon': 0}}, 'at least 1'),
        ({'action': {**ARM['action'], 'horizon': 10**9}}, r'action\.horizon = 10+: .* most 1000'),
        ({'action': {**ARM['action'], 'dim': 3 * 10**9}}, r'action\.dim = 30+: .* at most 100'),
        ({'action': {**ARM['action'], 'dim': -1}}, r'action\.dim = -1: expected at least 1'),
        (
            {'cameras': {'front': {'height': 8, 'width': 10**9}}},
            r'cameras\.front\.width = 10+: .* at most 16384',
        ),
        ({'action': {**ARM['action'], 'perod_s': 0.1}}, 'only the keys'),
        ({'state': {'size': 2, 'gripper': True, 'fingers': [[0.1, 0.1]]}}, 'another number'),
        ({'state': {'size': 3, 'source': 'eef_rpy'}}, '6 for eef_rpy'),
        ({'cameras': {'front': {'height': 0, 'width': 8}}}, 'at least 1'),
        ({'name': 3}, 'a str'),
    ],
)
def test_a_wrong_contract_is_refused_by_the_name_of_the_key(tmp_path, changes, words):
    with pytest.raises(BundleError, match=words) as found:
        read_contract(written(tmp_path, **changes))
    assert 'contract.yaml' in str(found.value)


@pytest.mark.parametrize('text', ['a: [', '!!python/object/apply:os.system [ls]', '7', '', 'a: 1'])
def test_what_is_no_contract_at_all_is_refused(tmp_path, text):
    path = tmp_path / 'contract.yaml'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(BundleError, match=r'contract\.yaml'):
        read_contract(path)
    with pytest.raises(BundleError, match='cannot be read'):
        read_contract(tmp_path / 'none.yaml')


def laughing(link):
    """Fifteen of what is fifteen of something, and so on; each step said by ``link``."""
    lines = ['request:', '  prompt: instruction', '  a0: &a0 {k0: 1, k1: 1}']
    for step in range(1, 8):
        lines.append(f'  a{step}: &a{step} {{{link(step - 1)}}}')
    return '\n'.join([*lines, '', yaml.safe_dump({k: ARM[k] for k in ('name', 'action')})])


@pytest.mark.parametrize(
    'link',
    [
        lambda step: ', '.join(f'k{n}: *a{step}' for n in range(15)),
        lambda step: f'<<: [{", ".join([f"*a{step}"] * 15)}]',
    ],
    ids=['aliases', 'merges'],
)
def test_what_aliases_stand_for_is_counted_before_it_is_built(tmp_path, link, monkeypatch):
    path = tmp_path / 'contract.yaml'
    path.write_text(laughing(link), encoding='utf-8')

    def built(*_):
        raise AssertionError('it was built')

    monkeypatch.setattr(yaml.SafeLoader, 'construct_document', built)
    words = r'contract\.yaml: contract\.request\.a\d\S*: more than 10000 values .* at most'
    with pytest.raises(BundleError, match=words):
        read_contract(path)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('name: &n {a: *n}', r'contract\.name\.a: an alias of what it stands in'),
        ('name: [' + '{}, ' * 10_000 + ']', r'contract\.name: more than 10000 values'),
        ('name: ' + '1:' * 200_000 + '1', r'contract\.name: \d+ characters'),
    ],
    ids=['itself', 'many', 'long'],
)
def test_a_document_that_stands_for_too_much_is_refused_by_its_field(tmp_path, text, words):
    path = tmp_path / 'contract.yaml'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(BundleError, match=words):
        read_contract(path)


def test_a_part_that_is_named_and_repeated_is_read(tmp_path):
    path = tmp_path / 'contract.yaml'
    path.write_text(
        'request: {a: camera front, b: camera side, p: instruction}\n'
        'cameras: {front: &same {height: 8, width: 6}, side: {<<: *same, fit: crop}}\n'
        + yaml.safe_dump({key: ARM[key] for key in ('name', 'action')}),
        encoding='utf-8',
    )
    front, side = read_contract(path).cameras.values()
    assert (front.height, front.width, front.fit) == (8, 6, 'pad')
    assert side == replace(front, fit='crop')


PARTS = {'observation': {'picture': 'camera front'}, 'grip': 'gripper', 'turns': 'joints',
         'prompt': 'instruction'}  # fmt: skip


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'observation': None}, "lacks 'observation'"),
        ({'observation': 3}, r"lacks 'observation'\['picture'\]"),
        ({'observation': {}}, r"lacks 'observation'\['picture'\]"),
        ({'observation': {'picture': np.zeros((8, 8, 3), np.uint8)}}, r'shape \(8, 8, 3\)'),
        ({'observation': {'picture': np.zeros((3, 8, 8))}}, 'of uint8'),
        ({'observation': {'picture': np.zeros((3, 0, 8), np.uint8)}}, 'expected an RGB image'),
        ({'observation': {'picture': 'x'}}, 'str'),
        ({'prompt': None}, "lacks 'prompt'"),
        ({'prompt': 3}, 'expected a text'),
        ({'turns': np.zeros(3)}, 'joints has 3 numbers: expected 2'),
        ({'turns': 'a'}, 'joints'),
        ({'grip': [0.0, float('nan')]}, 'finite'),
    ],
)
def test_a_server_names_what_a_request_lacks(tmp_path, changed, words):
    contract = read_contract(written(tmp_path, request=PARTS))
    sent = request_of(observed(), contract) | changed
    sent = {key: value for key, value in sent.items() if value is not None}
    with pytest.raises(InputError, match=words):
        observation_of(sent, contract, 0.0)


@pytest.mark.parametrize(
    'rows',
    [
        None, 'text', [[1.0, 2.0]], np.zeros((3, 3)), np.zeros((4, 2)), np.zeros(12),
        np.zeros((2, 4, 3)), [['a']], [[1.0], [1.0, 2.0]], np.zeros((4, 3), bool),
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_is_refused(contract, rows):
    with pytest.raises(LinkError, match='actions'):
        rows_of({} if rows is None else {'actions': rows}, contract)


@pytest.mark.parametrize('resize', [True, False])
@pytest.mark.parametrize('turned', [True, False])
def test_a_picture_that_is_sent_turned_arrives_as_the_camera_saw_it(tmp_path, resize, turned):
    camera = {'height': 16, 'width': 16, 'resize': resize, 'rotate_180': turned}
    contract = read_contract(written(tmp_path, cameras={'front': camera}))
    sent = request_of(observed(), contract)
    saw = observed().images['front']
    wanted = saw[::-1, ::-1] if turned else saw
    np.testing.assert_array_equal(sent['observation']['picture'], wanted)
    np.testing.assert_array_equal(observation_of(sent, contract, 0.0).images['front'], saw)


@pytest.mark.parametrize('path', sorted(SERVERS.glob('*.yaml')), ids=lambda path: path.stem)
def test_the_contracts_that_come_with_the_package_are_read(path):
    contract = read_contract(path)
    assert contract.name == path.stem
    assert contract.manifest().action.dim == contract.action.dim


def test_more_rows_and_columns_than_the_contract_uses_are_cut_off(contract):
    rows = np.arange(1 * 6 * 5, dtype=np.float32).reshape(1, 6, 5)
    assert rows_of({'actions': rows}, contract).tolist() == rows[0, :4, :3].tolist()
    assert rows_of({'actions': rows[0].tolist()}, contract).shape == (4, 3)


def test_a_robot_that_was_not_measured_is_not_sent(contract):
    for changes in ({'gripper': None}, {'images': {}}, {'joints': np.array([0.0, np.inf])},
                    {'joints': np.zeros(3)}):  # fmt: skip
        with pytest.raises(InputError):
            request_of(observed(**changes), contract)


def test_a_contract_of_a_file_must_fit_the_bundle_that_is_served():
    own = contract_of(fake_manifest())
    assert fitting(own, fake_manifest()) == own
    for wrong in (
        replace(own, action=replace(own.action, dim=6, gripper=False)),
        replace(own, action=replace(own.action, horizon=9)),
        replace(own, cameras={}, request={'observation/state': 'state', 'p': 'instruction'}),
        replace(own, request={'observation/image': 'camera image', 'p': 'instruction'}),
        replace(own, state=replace(own.state, size=5)),
    ):
        with pytest.raises(BundleError, match='fake|nothing'):
            fitting(wrong, fake_manifest())
