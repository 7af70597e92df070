"""An ament_python package that pip can install too."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = 'dysl_vla_ros'
HERE = Path(__file__).parent


def tree(folder):
    """(target, files) of every folder below ``folder``, kept in its structure."""
    share = Path('share') / NAME
    entries = []
    for path in sorted((HERE / folder).rglob('*')):
        if path.is_file() and '__pycache__' not in path.parts:
            relative = path.relative_to(HERE)
            entries.append((str(share / relative.parent), [str(relative)]))
    return entries


def models():
    """Bundled models lie in resource/models and install to share/<package>/models."""
    entries = []
    for path in sorted((HERE / 'resource' / 'models').rglob('*')):
        if path.is_file():
            relative = path.relative_to(HERE)
            target = Path('share') / NAME / relative.parent.relative_to('resource')
            entries.append((str(target), [str(relative)]))
    return entries


setup(
    name=NAME,
    version='0.1.0',
    description='Vision-language-action policies at 20+ Hz by dynamic-static layer skipping',
    license='Apache-2.0',
    maintainer='The dysl_vla_ros developers',
    maintainer_email='maintainers@dysl-vla-ros.dev',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={f'{NAME}.view': ['page/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        *tree('launch'),
        *tree('config'),
        *models(),
        # The program `dysl` on the path of a sourced workspace; colcon.pkg names the hook.
        (f'share/{NAME}/hook', ['resource/colcon/hook/dysl_path.dsv']),
        (f'share/{NAME}/bin', ['resource/colcon/bin/dysl']),
    ],
    python_requires='>=3.10',
    install_requires=[
        'numpy>=1.24,<3',  # arrays; 1.26 is what a Jetson with Humble has
        'PyYAML>=6,<7',  # parameter files
        'transforms3d>=0.4,<0.5',  # rotations
        'onnxruntime>=1.17,<2',  # the CPU engine
        'tokenizers>=0.15,<1',  # instructions to tokens, in the format of every VLA
        'rich>=13,<16',  # progress bars and the live view of the demo
    ],
    extras_require={
        # On a robot these come from ROS (rosdep): rclpy, messages, pinocchio.
        'kinematics': ['pin>=3.2,<5'],  # Pinocchio: forward and inverse kinematics
        'sim': [  # physics and ray casting of the simulated arm
            'mujoco-core>=4.0,<4.1; python_version >= "3.11"',
            'mujoco>=3.3,<4; python_version < "3.11"',  # of mujoco-core there is no wheel
        ],
        'compressed': ['Pillow>=10'],  # compressed images, JPEG and PNG; apt: python3-pil
        'remote': [  # a policy that runs elsewhere, and dysl serve: openpi's protocol
            'websockets>=15,<18',  # its sockets
            'msgpack>=1.0.3,<2',  # its messages
        ],
        'record': ['mcap>=1.5,<2', 'Pillow>=10'],  # record:=true
        'view': [  # dysl view: a live page in the browser; apt: python3-aiohttp python3-pil
            'aiohttp>=3.8,<4',
            'Pillow>=10',
        ],
        'film': ['av>=12', 'Pillow>=10'],  # dysl film as MP4; GIF and PNG need Pillow alone
        'ros-jazzy': [  # rclpy for machines without ROS, x86-64
            'ros-jazzy-rclpy[fastrtps]==7.1.6',
            'ros-jazzy-sensor-msgs==5.3.6',
            'ros-jazzy-trajectory-msgs==5.3.6',
            'ros-jazzy-geometry-msgs==5.3.6',
            'ros-jazzy-diagnostic-msgs==5.3.6',
            'ros-jazzy-visualization-msgs==5.3.6',
            'ros-jazzy-std-srvs==5.3.6',
            'ros-jazzy-lifecycle-msgs==2.0.3',
        ],
        # engine.backend = cuda: a bundle's graphs as CUDA graphs, on a workstation. To compile
        # them (dysl build --backend cuda) needs a CUDA toolkit and g++ too, which no wheel brings.
        'cuda': [
            'torch>=2.7,<3',  # the build that fits the driver
            'onnx>=1.16,<2',  # reads the graphs
        ],
        'train': [  # offline: training and export; never on the robot
            'torch>=2.6,<3',
            'accelerate>=1.0,<2',  # several GPUs and machines as a launch option
            'safetensors>=0.4,<1',  # checkpoints without pickle
            'onnx>=1.16,<2',
            'onnxscript>=0.2,<1',  # torch's exporter needs it
            'onnx-ir>=0.1.10,<2',  # writes weights to files one by one
            'matplotlib>=3.7,<4',
            'pyarrow>=15',  # datasets in LeRobot's layout
            'Pillow>=10',  # their pictures
            'av>=12',  # their videos, AV1 too: a decoder comes with it
            'rosbags>=0.10.11,<1',  # messages of a recording, without ROS
            'mcap>=1.1,<2',  # MCAP files, whole or cut off
        ],
        'bags': ['rosbags>=0.10.11,<1', 'mcap>=1.1,<2'],  # recordings, where nothing is trained
        'vla': [  # the upstream libraries that the loaders of published models are tested against
            'transformers>=5.0,<6',  # stock Llama
            'timm>=1.0.9,<1.1',  # stock DINOv2 and SigLIP towers
        ],
        # Parses and builds every segment on a CPU, in make test-all; a Jetson has TensorRT itself.
        'rtx': [
            'tensorrt-rtx-cu13-libs>=1.7,<1.8; platform_machine == "x86_64"',
            'tensorrt-rtx-cu13-bindings>=1.7,<1.8; platform_machine == "x86_64"',
        ],
        'test': [
            'pytest>=7.4,<10',  # 7.4 is Ubuntu 24.04's, which colcon test uses
            'pytest-timeout>=2.3,<3',
            'pytest-xdist>=3.5,<4',  # make test: two processes where no node is started
            'hypothesis>=6.100,<7',
            'onnx>=1.16,<2',  # writes the tiny bundle of the tests
            'Pillow>=10',  # compressed images
            'websockets>=15,<18',  # policy servers, over real sockets
            'msgpack>=1.0.3,<2',
        ],
        # Pinned: what passes here passes everywhere, and format never differs.
        'lint': ['ruff==0.17.6', 'mypy==2.4.1', 'types-PyYAML==6.0.12.20261122'],
    },
    entry_points={
        'console_scripts': [
            f'dysl = {NAME}.cli.main:main',
            f'vla_node = {NAME}.ros.vla_node:main',
            f'sim_arm = {NAME}.ros.sim_arm:main',
            f'vla_recorder = {NAME}.ros.vla_recorder:main',
        ]
    },
    zip_safe=False,
)
