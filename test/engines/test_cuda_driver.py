"""The ctypes layer, over a libcuda of host memory that is compiled for the test."""

from __future__ import annotations

import ctypes
import threading
import time

import numpy as np
import pytest
from compiled import HERE, shared_library

from dysl_vla_ros.engines.tensorrt import cuda_driver
from dysl_vla_ros.engines.tensorrt.cuda_driver import CudaDevice, NoDriverError, open_driver
from dysl_vla_ros.engines.tensorrt.device import Gpu
from dysl_vla_ros.errors import EngineError


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp('driver')
    return shared_library(HERE / 'fake_libcuda.c', folder / 'libcuda.so.1')


@pytest.fixture
def driver(library, monkeypatch):
    monkeypatch.setattr(cuda_driver, 'LIBRARY', str(library))
    return open_driver()


@pytest.fixture
def device(driver):
    made = CudaDevice(driver)
    yield made
    made.close()


def test_the_gpu_is_described(driver):
    assert driver.gpu == Gpu('Orin', '8.7', 16, '12.6')


def test_without_a_driver_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setattr(cuda_driver, 'LIBRARY', 'libcuda_that_is_not_there.so.1')
    with pytest.raises(NoDriverError, match='flash JetPack.*engine.backend = onnxruntime'):
        open_driver()


@pytest.mark.parametrize(
    ('variable', 'value', 'words'),
    [
        ('FAKE_CUDA_INIT', '100', r'does not answer \(cuInit: CUDA_ERROR_NO_DEVICE \(100\)'),
        ('FAKE_CUDA_INIT', '999', r'CUDA_ERROR_UNKNOWN \(999\)\): nvidia-smi'),
        ('FAKE_CUDA_INIT', '12345', r'unknown error \(12345\)'),
        ('FAKE_CUDA_DEVICES', '0', 'sees no device: check CUDA_VISIBLE_DEVICES'),
    ],
)
def test_a_driver_that_does_not_work_is_refused_with_its_error(
    library, monkeypatch, variable, value, words
):
    monkeypatch.setattr(cuda_driver, 'LIBRARY', str(library))
    monkeypatch.setenv(variable, value)
    with pytest.raises(EngineError, match=words) as caught:
        open_driver()
    assert not isinstance(caught.value, NoDriverError)


def test_a_driver_that_is_too_old_is_refused_with_the_function_it_lacks(tmp_path, monkeypatch):
    source = tmp_path / 'old.c'
    source.write_text('int cuInit(unsigned flags) { return 0; }')
    old = shared_library(source, tmp_path / 'libcuda.so.1')
    monkeypatch.setattr(cuda_driver, 'LIBRARY', str(old))
    with pytest.raises(EngineError, match='has no cuDriverGetVersion.*update it'):
        open_driver()


def test_bytes_go_to_the_device_between_places_and_back(device):
    host, back = device.allocate_pinned(1000), device.allocate_pinned(1000)
    first, second = device.allocate(1000), device.allocate(1000)
    assert first % 256 == 0 and first > 2**32, 'an address that a 32-bit argument would cut'
    host[:] = np.arange(1000) % 251
    device.copy_to_device(first, host)
    device.copy(second, first, 1000)
    device.copy_to_host(back, second)
    device.synchronize()
    np.testing.assert_array_equal(back, host)


def test_a_captured_graph_runs_when_it_is_launched_and_as_often(device):
    host, back = device.allocate_pinned(8), device.allocate_pinned(8)
    place = device.allocate(8)
    back[:] = 0

    def body():
        device.copy_to_device(place, host)
        device.copy_to_host(back, place)

    graph = device.capture(body)
    assert not back.any()
    for value in (3, 9):
        host[:] = value
        device.launch(graph)
        device.wait()
        assert (back == value).all()


def test_a_capture_that_fails_leaves_the_stream_usable_and_tells_the_first_error(device):
    def body():
        raise ValueError('a layer does not run')

    with pytest.raises(ValueError, match='a layer does not run'):
        device.capture(body)
    device.synchronize()


def test_another_thread_may_use_the_device(device):
    host = device.allocate_pinned(8)
    place = device.allocate(8)
    errors = []

    def work():
        try:
            device.copy_to_device(place, host)
            device.wait()
        except EngineError as error:
            errors.append(error)

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        work()
    assert errors == []


def test_a_thread_with_the_number_of_one_that_ended_may_use_the_device_too(driver):
    device = CudaDevice(driver)
    numbers, errors = [], []

    def work():
        numbers.append(threading.get_ident())
        try:
            device.synchronize()
        except EngineError as error:
            errors.append(error)

    # Python's threads are detached: join returns a moment before the number is free again.
    for _ in range(50):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        time.sleep(0.005)
    assert len(set(numbers)) < len(numbers), 'no number was used twice: nothing was tested'
    assert errors == []
    device.close()


def test_too_little_memory_is_an_error_with_its_cuda_name(device):
    with pytest.raises(EngineError, match=r'cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY \(2\)'):
        device.allocate(1 << 40)


def test_closing_gives_everything_back_and_a_closed_device_says_so(driver):
    live = ctypes.CDLL(driver.library._name).fake_live
    before = live()
    device = CudaDevice(driver)
    device.allocate(10)
    device.allocate_pinned(10)
    device.capture(lambda: None)
    assert live() == before + 6, 'context, stream, event, two blocks, graph'
    device.close()
    device.close()
    assert live() == before
    for use in (device.wait, device.synchronize, lambda: device.allocate(1)):
        with pytest.raises(EngineError, match='the device is closed'):
            use()
