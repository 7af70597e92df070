"""A folder is recognised, or the error says why its layers cannot be skipped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.family import detect_family, expect_oft

ROOT = Path(__file__).resolve().parents[3]


def folder_with(tmp_path, config, *files):
    (tmp_path / 'config.json').write_text(json.dumps(config))
    for name in files:
        (tmp_path / name).touch()
    return tmp_path


def test_openvla_with_an_action_head_is_openvla_oft(tmp_path):
    folder = folder_with(tmp_path, {'model_type': 'openvla'})
    assert detect_family(folder) == 'openvla'
    (folder / 'action_head--5_checkpoint.pt').touch()
    assert detect_family(folder) == 'openvla_oft'


@pytest.mark.parametrize(
    ('config', 'reason'),
    [
        ({'type': 'pi0'}, 'keys and values of every layer'),
        ({'type': 'pi05'}, 'keys and values of every layer'),
        ({'type': 'smolvla'}, 'keys and values of every layer'),
        ({'type': 'pi0fast'}, 'unknown length'),
        ({'model_type': 'RoboFlamingo'}, 'nothing reads its checkpoints yet'),
        ({'model_type': 'deer'}, 'a mode of dysl evaluate'),
        ({'model_type': 'gpt2'}, "model_type = 'gpt2': expected one of"),
        ({}, "model_type = '': expected one of"),
    ],
)
def test_a_family_that_does_not_fit_is_refused_with_the_reason(tmp_path, config, reason):
    with pytest.raises(BundleError, match=reason):
        detect_family(folder_with(tmp_path, config))


@pytest.mark.parametrize(
    ('names', 'reason'),
    [
        (('checkpoint_gripper_post_hist_1__aug_10_4_ws_12_mpt_dolly_3b_4.pth',),
         'roboflamingo is not supported: .* Both are planned'),
        (('amp_bfloat16_checkpoint_gripper_post_hist_1_length_6_0.pth',), 'deer is not supported'),
        (('params/_METADATA', 'assets/norm_stats.json'), 'pi0 is not supported: .* planned'),
    ],
)  # fmt: skip
def test_a_folder_without_a_configuration_is_known_by_what_its_code_writes(
    tmp_path, names, reason
):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(BundleError, match=reason):
        detect_family(tmp_path)


@pytest.mark.parametrize('config', [{'type': 'pi0'}, {'type': 'smolvla'}, {'type': 'pi0fast'},
                                    {'model_type': 'roboflamingo'}])  # fmt: skip
def test_a_refusal_names_a_page_that_there_is(tmp_path, config):
    with pytest.raises(BundleError) as refused:
        detect_family(folder_with(tmp_path, config))
    page = re.search(r'doc/models/\w+\.md', str(refused.value))
    assert page and (ROOT / page[0]).is_file()


@pytest.mark.parametrize(
    ('file', 'reason'),
    [
        ('noisy_action_projector--5_checkpoint.pt', 'once per denoising step'),
    ],
)
def test_variants_of_openvla_oft_that_do_not_fit_are_refused(tmp_path, file, reason):
    folder = folder_with(tmp_path, {'model_type': 'openvla'}, 'action_head--5_checkpoint.pt', file)
    with pytest.raises(BundleError, match=reason):
        detect_family(folder)


@pytest.mark.parametrize('place', ['', 'lora_adapter'])
def test_an_adapter_without_its_model_is_named(tmp_path, place):
    (tmp_path / place).mkdir(exist_ok=True)
    for name in ('adapter_config.json', 'adapter_model.safetensors'):
        (tmp_path / place / name).touch()
    (tmp_path / 'action_head--5_checkpoint.pt').touch()
    with pytest.raises(BundleError, match='only a LoRA adapter .* merge it into its base model'):
        detect_family(tmp_path)


def test_an_adapter_beside_merged_weights_is_no_matter(tmp_path):
    folder = folder_with(
        tmp_path,
        {'model_type': 'openvla'},
        'action_head--5_checkpoint.pt',
        'adapter_config.json',
        'model.safetensors.index.json',
    )
    assert detect_family(folder) == 'openvla_oft'


def test_discrete_tokens_are_named(tmp_path):
    folder = folder_with(tmp_path, {'model_type': 'openvla'}, 'proprio_projector--5_checkpoint.pt')
    with pytest.raises(BundleError, match='OpenVLA-OFT with discrete tokens'):
        detect_family(folder)
    (folder / 'proprio_projector--5_checkpoint.pt').unlink()
    with pytest.raises(BundleError, match='openvla, or OpenVLA-OFT fine-tuned with discrete'):
        expect_oft(folder)


def test_a_pointer_in_place_of_the_configuration_is_named(tmp_path):
    (tmp_path / 'config.json').write_text(
        'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4000\n'
    )
    with pytest.raises(BundleError, match='config.json: this is a Git LFS pointer'):
        detect_family(tmp_path)


@pytest.mark.parametrize(('text', 'message'), [('[]', 'expected a JSON object'), ('{', 'JSON')])
def test_a_configuration_that_is_no_object_is_refused(tmp_path, text, message):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(BundleError, match=message):
        detect_family(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BundleError, match='is no folder'):
        detect_family(tmp_path / 'nowhere')
