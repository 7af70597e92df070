"""CUDA through the driver library alone, by ctypes.

``libcuda.so.1`` comes with the driver, so it is there wherever a GPU can work at all: on a Jetson
neither the CUDA toolkit's libcudart nor the ``cuda-python`` package, which must match the CUDA
version, is needed. The primary context is used, which TensorRT shares.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.engines.tensorrt.device import Gpu, Graph
from dysl_vla_ros.errors import EngineError

LIBRARY = 'libcuda.so.1'

_OUT = POINTER(c_void_p)
_OUT_INT = POINTER(c_int)
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    'cuInit': (c_uint,),
    'cuDriverGetVersion': (_OUT_INT,),
    'cuGetErrorName': (c_int, POINTER(c_char_p)),
    'cuDeviceGetCount': (_OUT_INT,),
    'cuDeviceGet': (_OUT_INT, c_int),
    'cuDeviceGetName': (c_char_p, c_int, c_int),
    'cuDeviceGetAttribute': (_OUT_INT, c_int, c_int),
    'cuDevicePrimaryCtxRetain': (_OUT, c_int),
    'cuDevicePrimaryCtxRelease_v2': (c_int,),
    'cuCtxSetCurrent': (c_void_p,),
    'cuStreamCreate': (_OUT, c_uint),
    'cuStreamDestroy_v2': (c_void_p,),
    'cuStreamSynchronize': (c_void_p,),
    'cuStreamBeginCapture_v2': (c_void_p, c_int),
    'cuStreamEndCapture': (c_void_p, _OUT),
    'cuGraphInstantiateWithFlags': (_OUT, c_void_p, c_uint64),
    'cuGraphLaunch': (c_void_p, c_void_p),
    'cuGraphDestroy': (c_void_p,),
    'cuGraphExecDestroy': (c_void_p,),
    'cuEventCreate': (_OUT, c_uint),
    'cuEventRecord': (c_void_p, c_void_p),
    'cuEventSynchronize': (c_void_p,),
    'cuEventDestroy_v2': (c_void_p,),
    'cuMemAlloc_v2': (POINTER(c_uint64), c_size_t),
    'cuMemFree_v2': (c_uint64,),
    'cuMemHostAlloc': (_OUT, c_size_t, c_uint),
    'cuMemFreeHost': (c_void_p,),
    'cuMemcpyHtoDAsync_v2': (c_uint64, c_void_p, c_size_t, c_void_p),
    'cuMemcpyDtoHAsync_v2': (c_void_p, c_uint64, c_size_t, c_void_p),
    'cuMemcpyDtoDAsync_v2': (c_uint64, c_uint64, c_size_t, c_void_p),
}
"""Every function that is called, with its arguments; a test compares them with cuda.h."""

_STREAM_NON_BLOCKING = 1
_CAPTURE_THREAD_LOCAL = 1  # other threads may use CUDA while one captures
_EVENT_DISABLE_TIMING = 2
_MULTIPROCESSOR_COUNT, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 16, 75, 76
_DEVICE = 0


class NoDriverError(EngineError):
    """There is no NVIDIA driver on this machine at all."""


@dataclass(frozen=True)
class Driver:
    """The loaded library, initialised, with at least one device."""

    library: Any
    gpu: Gpu

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of ``FUNCTIONS``.

        Raises:
            EngineError: It returned an error; the message has its CUDA name.
        """
        _call(self.library, name, *arguments)


def open_driver() -> Driver:
    """Load and ask the driver: must come before TensorRT, which crashes where there is none.

    Raises:
        NoDriverError: There is none.
        EngineError: It does not answer, is too old, or sees no device.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise NoDriverError(
            f'no NVIDIA driver: {LIBRARY} cannot be loaded ({error}); on a Jetson flash JetPack, '
            'elsewhere install the driver, or use engine.backend = onnxruntime on this machine'
        ) from None
    for name, arguments in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise EngineError(
                f'the NVIDIA driver has no {name}: expected one of CUDA 12 or newer; update it'
            ) from None
        function.argtypes, function.restype = arguments, c_int
    try:
        _call(library, 'cuInit', 0)
        count = _read_int(library, 'cuDeviceGetCount')
    except EngineError as error:
        raise EngineError(
            f'the NVIDIA driver does not answer ({error}): nvidia-smi tells more; in a container '
            'start it with the NVIDIA runtime; after an update reboot'
        ) from None
    if count < 1:
        raise EngineError(
            'the NVIDIA driver sees no device: check CUDA_VISIBLE_DEVICES and nvidia-smi'
        )
    return Driver(library, _gpu(library))


class CudaDevice:
    """``engines.tensorrt.device.Device`` on the first CUDA device."""

    def __init__(self, driver: Driver) -> None:
        """Make the primary context current, create stream and event."""
        self._driver = driver
        self._current = threading.local()
        self._memory: list[int] = []
        self._pinned: list[int] = []
        self._graphs: list[c_void_p] = []
        self._context, self._stream, self._event = c_void_p(), c_void_p(), c_void_p()
        driver.call('cuDevicePrimaryCtxRetain', byref(self._context), _DEVICE)
        self._call('cuStreamCreate', byref(self._stream), _STREAM_NON_BLOCKING)
        self._call('cuEventCreate', byref(self._event), _EVENT_DISABLE_TIMING)

    @property
    def stream(self) -> int:
        """Handle that TensorRT queues on."""
        return int(self._stream.value or 0)

    def allocate(self, size: int) -> int:
        """Device memory; the driver aligns it to 256 bytes or more."""
        address = c_uint64()
        self._call('cuMemAlloc_v2', byref(address), size)
        self._memory.append(address.value)
        return address.value

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """Page-locked host memory, shape (size,)."""
        address = c_void_p()
        self._call('cuMemHostAlloc', byref(address), size, 0)
        place = int(address.value or 0)
        self._pinned.append(place)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(place))

    def copy_to_device(self, target: int, source: NDArray[Any]) -> None:
        """Queue a copy from pinned memory."""
        self._call('cuMemcpyHtoDAsync_v2', target, source.ctypes.data, source.nbytes, self._stream)

    def copy_to_host(self, target: NDArray[Any], source: int) -> None:
        """Queue a copy into pinned memory."""
        self._call('cuMemcpyDtoHAsync_v2', target.ctypes.data, source, target.nbytes, self._stream)

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy within device memory."""
        self._call('cuMemcpyDtoDAsync_v2', target, source, size, self._stream)

    def capture(self, body: Callable[[], None]) -> Graph:
        """Record what ``body`` queues as an executable graph."""
        template, graph = c_void_p(), c_void_p()
        self._call('cuStreamBeginCapture_v2', self._stream, _CAPTURE_THREAD_LOCAL)
        try:
            body()
        except BaseException:
            # Leave capture mode; what broke is in the first error.
            self._driver.library.cuStreamEndCapture(self._stream, byref(template))
            raise
        self._call('cuStreamEndCapture', self._stream, byref(template))
        try:
            self._call('cuGraphInstantiateWithFlags', byref(graph), template, 0)
        finally:
            self._call('cuGraphDestroy', template)
        self._graphs.append(graph)
        return graph

    def launch(self, graph: Graph) -> None:
        """Queue a graph."""
        self._call('cuGraphLaunch', graph, self._stream)

    def wait(self) -> None:
        """Event record and event wait; the calling thread does not hold Python's lock."""
        self._call('cuEventRecord', self._event, self._stream)
        self._call('cuEventSynchronize', self._event)

    def synchronize(self) -> None:
        """Wait until the stream is empty."""
        self._call('cuStreamSynchronize', self._stream)

    def close(self) -> None:
        """Free everything; errors are ignored, for after a device fault every call fails."""
        if not self._context.value:
            return
        library = self._driver.library
        library.cuCtxSetCurrent(self._context)
        library.cuStreamSynchronize(self._stream)
        for graph in self._graphs:
            library.cuGraphExecDestroy(graph)
        for address in self._memory:
            library.cuMemFree_v2(address)
        for address in self._pinned:
            library.cuMemFreeHost(address)
        library.cuEventDestroy_v2(self._event)
        library.cuStreamDestroy_v2(self._stream)
        library.cuDevicePrimaryCtxRelease_v2(_DEVICE)
        self._memory, self._pinned, self._graphs = [], [], []
        self._context = c_void_p()

    def _call(self, name: str, *arguments: Any) -> None:
        if not self._context.value:
            raise EngineError(f'{name}: the device is closed')
        # A context is current per thread, and a new thread may have the number of an ended one.
        if not getattr(self._current, 'is_set', False):
            self._driver.call('cuCtxSetCurrent', self._context)
            self._current.is_set = True
        self._driver.call(name, *arguments)


def _call(library: Any, name: str, *arguments: Any) -> None:
    code = getattr(library, name)(*arguments)
    if code != 0:
        text = c_char_p()
        library.cuGetErrorName(code, byref(text))
        known = text.value.decode() if text.value else 'unknown error'
        raise EngineError(f'{name}: {known} ({code})')


def _read_int(library: Any, name: str, *arguments: Any) -> int:
    value = c_int(0)
    _call(library, name, byref(value), *arguments)
    return value.value


def _gpu(library: Any) -> Gpu:
    device = _read_int(library, 'cuDeviceGet', _DEVICE)
    name = ctypes.create_string_buffer(256)
    _call(library, 'cuDeviceGetName', name, len(name), device)
    major, minor, count = (
        _read_int(library, 'cuDeviceGetAttribute', attribute, device)
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR, _MULTIPROCESSOR_COUNT)
    )
    version = _read_int(library, 'cuDriverGetVersion')
    return Gpu(
        name.value.decode(errors='replace'), f'{major}.{minor}', count,
        f'{version // 1000}.{version % 1000 // 10}',
    )  # fmt: skip
