"""Nothing of TensorRT is used that the table does not list, and the table is what versions have.

The second half downloads NVIDIA's real Python bindings (without the libraries, which need a
Jetson or a GPU) and asks them; the libraries they link to are stubs, so nothing of TensorRT runs.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import zipfile

import pytest
from compiled import shared_library, with_libraries
from fake_gpu import FakeDevice, fake_tensorrt

from dysl_vla_ros.engines.tensorrt.api import API, load_tensorrt
from dysl_vla_ros.engines.tensorrt.cuda_driver import FUNCTIONS
from dysl_vla_ros.errors import EngineError

VERSIONS = {  # version -> where it comes from
    '10.3.0': 'JetPack 6.2',
    '10.16.1.11': 'JetPack 7.2',
    '11.4.0.106': 'the newest',
}
CUDA = {
    'nvidia-cuda-runtime-cu12==12.6.77': 'JetPack 6.2',
    'nvidia-cuda-runtime==13.2.75': 'JetPack 7.2',
}
STUB = """
void *createInferBuilder_INTERNAL(void) {return 0;} void *createInferRuntime_INTERNAL(void) {return 0;}
void *createInferRefitter_INTERNAL(void) {return 0;} void *createNvOnnxParser_INTERNAL(void) {return 0;}
void *createNvOnnxParserRefitter_INTERNAL(void) {return 0;} int getNvOnnxParserVersion(void) {return 0;}
void *getBuilderPluginRegistry(void) {return 0;} void *getPluginRegistry(void) {return 0;}
int initLibNvInferPlugins(void) {return 0;}
"""  # noqa: E501
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
def of(path):
    found = trt
    for part in path.split('.'):
        found = getattr(found, part, None)
    return found
print(json.dumps({
    'version': trt.__version__,
    'docs': {c: {m: getattr(of(c), m).__doc__ or '' for m in members if hasattr(of(c), m)}
             for c, members in json.loads(sys.argv[2]).items()},
}))
"""


def test_the_stand_in_of_the_tests_has_nothing_that_the_table_does_not_list():
    trt = fake_tensorrt(FakeDevice())
    for name, kind in vars(trt).items():
        if isinstance(kind, type) and name != 'IHostMemory':
            listed = set(API[name]) | {'__members__'}
            public = {n for n in vars(kind) if not n.startswith('_')} - {'Severity'}
            assert public <= listed, name
    assert set(vars(trt)) - {'__version__'} <= set(API)


@pytest.mark.parametrize(
    ('version', 'words'), [(None, 'python3-libnvinfer'), ('10.2.0', 'expected 10.3')]
)
def test_a_missing_and_an_old_tensorrt_are_refused(monkeypatch, version, words):
    module = None if version is None else fake_tensorrt(FakeDevice(), version=version)
    monkeypatch.setitem(sys.modules, 'tensorrt', module)
    with pytest.raises(EngineError, match=words):
        load_tensorrt()


@pytest.mark.parametrize('version', ['10.3.0', '10.16.1.11', '11.4.0.106', '12.0'])
def test_newer_versions_are_taken(monkeypatch, version):
    monkeypatch.setitem(sys.modules, 'tensorrt', fake_tensorrt(FakeDevice(), version=version))
    assert load_tensorrt().__version__ == version


def download(requirement, folder):
    """Unpack one wheel."""
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '--only-binary', ':all:',
         '-d', str(folder), requirement],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f'{requirement} cannot be downloaded: {done.stderr.strip().splitlines()[-1]}')
    for wheel in folder.glob('*.whl'):
        zipfile.ZipFile(wheel).extractall(folder)
    return folder


def arguments_fit(doc, name, wanted):
    """Whether an overload in a docstring takes these arguments, all others having defaults."""
    for line in re.findall(rf'\b{re.escape(name)}\((self: .*)\) ->', doc):
        parts = re.split(r', (?=\w+: )', line)[1:]
        names = [part.partition(':')[0] for part in parts]
        rest = parts[len(wanted) :]
        if names[: len(wanted)] == list(wanted) and all(' = ' in part for part in rest):
            return True
    return False


def test_a_wrong_argument_list_is_noticed():
    doc = 'f(self: trt.X, memory: int, size: int = <E.A: 0>) -> None\n'
    assert arguments_fit(doc, 'f', ('memory', 'size')) and arguments_fit(doc, 'f', ('memory',))
    assert not arguments_fit(doc, 'f', ('size',)) and not arguments_fit(doc, 'f', ())


@pytest.mark.slow
@pytest.mark.parametrize('version', VERSIONS)
def test_every_listed_class_member_and_argument_is_in_the_real_bindings(tmp_path, version):
    if platform.machine() != 'x86_64':
        pytest.skip('the bindings are published for x86-64')
    source = tmp_path / 'stub.c'
    source.write_text(STUB)
    for name in ('nvinfer', 'nvinfer_plugin', 'nvonnxparser'):
        shared_library(source, tmp_path / f'stubs/lib{name}.so.{version.partition(".")[0]}')
    folder = download(f'tensorrt-cu12-bindings=={version}', tmp_path)
    done = subprocess.run(
        [sys.executable, '-c', ASK, str(folder), json.dumps({c: list(m) for c, m in API.items()})],
        env=with_libraries(tmp_path / 'stubs'), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer['version'] == version
    wrong = []
    for kind, members in API.items():
        for name, arguments in members.items():
            doc = answer['docs'][kind].get(name)
            if doc is None or (arguments is not None and not arguments_fit(doc, name, arguments)):
                wrong.append(f'{kind}.{name}{arguments or ""}: {doc}')
    assert wrong == []


C_TYPES = {
    'unsigned int': 'c_uint', 'int': 'c_int', 'size_t': 'c_ulong', 'CUdevice': 'c_int',
    'unsigned long long': 'c_ulong', 'CUdeviceptr': 'c_ulong', 'char*': 'c_char_p',
    'int*': 'LP_c_int', 'CUdevice*': 'LP_c_int', 'CUdeviceptr*': 'LP_c_ulong',
    'const char**': 'LP_c_char_p', 'CUdevice_attribute': 'c_int', 'CUresult': 'c_int',
    'CUstreamCaptureMode': 'c_int', 'CUcontext': 'c_void_p', 'CUstream': 'c_void_p',
    'CUgraph': 'c_void_p', 'CUgraphExec': 'c_void_p', 'CUevent': 'c_void_p', 'void*': 'c_void_p',
    'const void*': 'c_void_p', 'void**': 'LP_c_void_p', 'CUcontext*': 'LP_c_void_p',
    'CUstream*': 'LP_c_void_p', 'CUgraph*': 'LP_c_void_p', 'CUgraphExec*': 'LP_c_void_p',
    'CUevent*': 'LP_c_void_p',
}  # fmt: skip


def prototypes(header):
    """Exported name -> ctypes names of its arguments, as cuda.h declares them."""
    text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', header, flags=re.S)
    exported = dict(re.findall(r'#define\s+(cu\w+)\s+(?:__CUDA_API_PT\w+\()?(cu\w+)', text))
    found = {}
    for name, listed in re.findall(r'CUresult\s+CUDAAPI\s+(cu\w+)\s*\(([^)]*)\)', text):
        kinds = []
        for argument in listed.split(','):
            kind = re.sub(r'\s*\w+$', '', ' '.join(argument.split()))
            kinds.append(C_TYPES.get(re.sub(r'\s*\*', '*', kind), kind))
        found.setdefault(exported.get(name, name), kinds)
    return found


@pytest.mark.slow
@pytest.mark.parametrize('package', CUDA)
def test_every_function_of_the_driver_is_declared_as_cuda_h_says(tmp_path, package):
    folder = download(package, tmp_path)
    declared = prototypes(next(folder.rglob('cuda.h')).read_text(encoding='utf-8'))
    assert len(declared) > 300
    ours = {name: [kind.__name__ for kind in kinds] for name, kinds in FUNCTIONS.items()}
    wrong = {n: (kinds, declared.get(n)) for n, kinds in ours.items() if declared.get(n) != kinds}
    assert wrong == {}
