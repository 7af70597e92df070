"""The doctor tells what is there, what is not, and how to get it."""

from __future__ import annotations

import json

import tiny_bundle

from dysl_vla_ros.cli import doctor
from dysl_vla_ros.cli.main import main


def by_part(findings):
    return {item.part: item for item in findings}


def test_an_installed_part_is_ok_with_its_version():
    item = by_part(doctor.findings())['numpy']
    assert item.state == 'ok' and item.found[0].isdigit()


def test_a_missing_part_comes_with_the_command_that_gets_it(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, 'find_spec', lambda name: None)
    item = by_part(doctor.findings())['mujoco']
    assert item.state == 'missing' and "pip install '.[sim]'" in item.fix


def test_a_bundle_that_fits_its_checksums_is_ok(tmp_path):
    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny')
    item = doctor.findings(str(folder))[-1]
    assert item.state == 'ok' and 'checksums fit' in item.found


def test_an_altered_bundle_is_broken_and_the_file_is_named(tmp_path):
    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny')
    victim = next((folder / 'segments').glob('layer_00*'))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    item = doctor.findings(str(folder))[-1]
    assert item.state == 'broken' and victim.name in item.found


def test_without_a_driver_the_doctor_says_so_and_does_not_crash(monkeypatch):
    def no_library(name):
        raise OSError(name)

    monkeypatch.setattr(doctor.ctypes, 'CDLL', no_library)
    item = by_part(doctor.findings())['NVIDIA driver']
    assert item.state == 'missing' and 'JetPack' in item.fix


def test_the_report_is_written_as_json(tmp_path, capsys):
    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny')
    code = main(['doctor', '--engine', str(folder), '--json', str(tmp_path / 'out.json')])
    document = json.loads((tmp_path / 'out.json').read_text())
    assert code == 0
    assert {'part', 'state', 'found', 'needed_for', 'fix'} == set(document[0])
