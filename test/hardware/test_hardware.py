"""What cannot be read is absent; what changed between two readings is said."""

from __future__ import annotations

import os
import stat

import pytest

from dysl_vla_ros.hardware import cpu, jetson, nvidia_smi, snapshot
from dysl_vla_ros.ros import hardware as ros_hardware

ORIN = {
    'proc/device-tree/model': 'NVIDIA Jetson AGX Orin Developer Kit\0',
    'etc/nv_tegra_release': '# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n',
    'etc/nvpmodel.conf': (
        '# < POWER_MODEL ID=id_num NAME=mode_name >\n'
        '< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_30W >\n'
    ),
    'var/lib/nvpmodel/status': 'pmode:0002 fmode:quiet\n',
    'sys/class/devfreq/15340000.vic/cur_freq': '115200000\n',
    'sys/class/devfreq/17000000.gpu/cur_freq': '612000000\n',
    'sys/class/devfreq/17000000.gpu/min_freq': '306000000\n',
    'sys/class/devfreq/17000000.gpu/max_freq': '624750000\n',
    'sys/kernel/debug/bpmp/debug/clk/emc/rate': '3199000000\n',
    'sys/class/thermal/thermal_zone0/type': 'cpu-thermal\n',
    'sys/class/thermal/thermal_zone0/temp': '51500\n',
    'sys/class/thermal/thermal_zone1/type': 'gpu-thermal\n',
    'sys/class/thermal/thermal_zone1/temp': '48250\n',
    'sys/class/thermal/thermal_zone8/type': 'tj-thermal\n',
    'sys/class/thermal/thermal_zone8/temp': '52000\n',
    'sys/class/thermal/cooling_device0/type': 'pwm-fan\n',
    'sys/class/thermal/cooling_device0/cur_state': '3\n',
    'sys/class/thermal/cooling_device1/type': 'gpu-throttle-alert\n',
    'sys/class/thermal/cooling_device1/cur_state': '0\n',
    'sys/class/hwmon/hwmon0/name': 'ina3221\n',
    'sys/class/hwmon/hwmon3/name': 'soctherm_oc\n',
    'sys/class/hwmon/hwmon3/oc1_event_cnt': '0\n',
    'sys/class/hwmon/hwmon3/oc3_event_cnt': '37\n',
}


@pytest.fixture
def orin(tmp_path):
    for name, content in ORIN.items():
        put(tmp_path, name, content)
    return tmp_path


def put(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding='utf-8')


def test_a_jetson_tells_mode_clocks_temperatures_and_throttling(orin):
    assert jetson.read(orin) == {
        'board': 'NVIDIA Jetson AGX Orin Developer Kit', 'l4t': '36.4.3',
        'power_mode': 'MODE_30W', 'gpu_clock_mhz': 612.0, 'gpu_clock_min_mhz': 306.0,
        'gpu_clock_max_mhz': pytest.approx(624.75), 'emc_clock_mhz': 3199.0,
        'gpu_temp_c': 48.25, 'tj_temp_c': 52.0, 'throttled': 'no', 'overcurrent_events': 37,
    }  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'key'),
    [
        ('sys/class/devfreq/17000000.gpu/cur_freq', 'gpu_clock_mhz'),
        ('sys/kernel/debug/bpmp/debug/clk/emc/rate', 'emc_clock_mhz'),
        ('sys/class/thermal/thermal_zone1/temp', 'gpu_temp_c'),
        ('var/lib/nvpmodel/status', 'power_mode'),
        ('sys/class/thermal/cooling_device1/cur_state', 'throttled'),
    ],
)
@pytest.mark.parametrize('content', ['', 'broken'])
def test_what_cannot_be_read_is_absent_and_never_zero(orin, name, key, content):
    put(orin, name, content)
    found = jetson.read(orin)
    assert key not in found
    assert len(found) == len(jetson.read(orin) | {key: 0}) - 1 >= 8


def test_a_mode_without_a_name_is_its_number(orin):
    put(orin, 'var/lib/nvpmodel/status', 'pmode:0007')
    assert jetson.read(orin)['power_mode'] == '7'


def test_an_active_alert_is_throttling_and_a_running_fan_is_not(orin):
    put(orin, 'sys/class/thermal/cooling_device1/cur_state', '1')
    assert jetson.read(orin)['throttled'] == 'gpu-throttle-alert'


def test_another_machine_is_no_jetson(tmp_path):
    put(tmp_path, 'proc/device-tree/model', 'Raspberry Pi 5')
    assert jetson.read(tmp_path) == {}


def test_the_diagnostics_show_the_same_readings_as_text(orin):
    assert ros_hardware.read(orin) == {
        'power_mode': 'MODE_30W', 'gpu_clock_mhz': '612', 'gpu_temp_c': '48.2', 'throttled': 'no',
    }  # fmt: skip


def test_a_laptop_tells_governor_clock_and_battery(tmp_path):
    for core, clock in ((0, 1_200_000), (1, 3_600_000)):
        base = f'sys/devices/system/cpu/cpu{core}'
        put(tmp_path, f'{base}/cpufreq/scaling_governor', 'powersave\n')
        put(tmp_path, f'{base}/cpufreq/scaling_cur_freq', f'{clock}\n')
        put(tmp_path, f'{base}/cpufreq/scaling_max_freq', '4200000\n')
        put(tmp_path, f'{base}/thermal_throttle/core_throttle_count', '4\n')
    put(tmp_path, 'sys/class/power_supply/AC/type', 'Mains\n')
    put(tmp_path, 'sys/class/power_supply/AC/online', '0\n')
    put(tmp_path, 'proc/cpuinfo', 'processor : 0\nmodel name\t: A Laptop CPU\n')
    put(tmp_path, 'proc/loadavg', '1.25 0.50 0.20 1/300 4000\n')
    found = cpu.read(tmp_path)
    assert found.pop('cpu_threads') >= 1
    assert found == {
        'cpu': 'A Laptop CPU', 'cpu_governor': 'powersave', 'cpu_clock_mhz': 2400.0,
        'cpu_clock_max_mhz': 4200.0, 'cpu_throttle_events': 8, 'on_battery': 'yes',
        'load_1min': 1.25,
    }  # fmt: skip


def test_a_container_without_clocks_has_no_clocks(tmp_path):
    assert not {'cpu_clock_mhz', 'cpu_governor', 'cpu_temp_c', 'on_battery'} & set(
        cpu.read(tmp_path)
    )


LINE = 'NVIDIA RTX A6000, 550.54.15, P2, 1800, 2100, 7600, 62, 250.5, 300.00, {}'


@pytest.mark.parametrize(
    ('bits', 'words'),
    [('0x0000000000000000', 'no'), ('0x0000000000000001', 'no'),
     ('0x0000000000000024', 'power cap, software thermal')],
)  # fmt: skip
def test_a_card_tells_why_it_is_slowed_and_idle_is_no_reason(bits, words):
    found = nvidia_smi.parse(LINE.format(bits))
    assert found['throttled'] == words
    assert (found['gpu'], found['gpu_clock_mhz'], found['gpu_power_w']) == (
        'NVIDIA RTX A6000', 1800.0, 250.5,
    )  # fmt: skip


def test_what_a_card_does_not_support_is_absent():
    line = 'NVIDIA Thor, 580.00, [N/A], 1575, [N/A], [Not Supported], 41, [N/A], [N/A], [N/A]'
    assert set(nvidia_smi.parse(line)) == {'gpu', 'gpu_driver', 'gpu_clock_mhz', 'gpu_temp_c'}


@pytest.mark.parametrize('line', ['', 'No devices were found', 'a, b'])
def test_an_answer_that_is_no_row_gives_nothing(line):
    assert nvidia_smi.parse(line) == {}


def test_an_old_driver_is_asked_by_the_old_name_of_a_field(tmp_path, monkeypatch):
    program = tmp_path / 'nvidia-smi'
    program.write_text(
        '#!/bin/sh\ncase "$*" in *clocks_event_reasons*) exit 2;; esac\n'
        f'echo "{LINE.format("0x40")}"\n',
        encoding='utf-8',
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')
    assert nvidia_smi.read()['throttled'] == 'hardware thermal'


def test_without_the_driver_nothing_is_read(monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    assert nvidia_smi.read() == {}


def test_what_slowed_the_machine_is_said(orin):
    before = snapshot.read(orin)
    assert snapshot.slowdowns(before, before) == []
    put(orin, 'sys/class/hwmon/hwmon3/oc3_event_cnt', '40')
    put(orin, 'sys/class/thermal/cooling_device1/cur_state', '1')
    assert snapshot.slowdowns(before, snapshot.read(orin)) == [
        'throttled after the run: gpu-throttle-alert',
        '3 over-current events during the run',
    ]


def test_a_machine_that_is_busy_already_is_told(tmp_path):
    put(tmp_path, 'proc/loadavg', '200.00 0.50 0.20 1/300 4000\n')
    busy = snapshot.read(tmp_path)
    assert 'other programs were running: load 200.0 on' in snapshot.slowdowns(busy, busy)[0]
    put(tmp_path, 'proc/loadavg', '0.20 0.50 0.20 1/300 4000\n')
    idle = snapshot.read(tmp_path)
    assert snapshot.slowdowns(idle, busy) == []
