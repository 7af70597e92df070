"""What each part of the package may import.

A part may import what is listed here and nothing else: of the package, of the standard library, of
other libraries. So a new library, a pickle, a socket or a dynamic import in a part that has no
business with it is an edit of this table, and is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PACKAGE = 'dysl_vla_ros'
ROOT = Path(__file__).resolve().parents[1] / PACKAGE


@dataclass(frozen=True)
class May:
    """What a part may import; 'x' covers 'x.y'.

    Attributes:
        own: Of the package; None is everything. A part may always import itself.
        std: Of the standard library, beyond ``PURE``.
        libraries: Others.
    """

    own: str | None = ''
    std: str = ''
    libraries: str = ''


# Neither files nor clocks, threads, processes or the network.
_PURE_NAMES = (
    '__future__ array bisect collections copy dataclasses difflib functools itertools json '
    'logging math re reprlib types typing'
)
PURE = set(_PURE_NAMES.split())
# Of a module that is allowed, these are not: they are listed by their full name or not at all.
APART = ('multiprocessing.connection', 'multiprocessing.managers', 'importlib')

# Robot and simulation first, in the order of the layers; then what stands on top; then lab.
MESSAGES = (
    'builtin_interfaces diagnostic_msgs lifecycle_msgs sensor_msgs std_msgs std_srvs '
    'trajectory_msgs'
)
PARTS = {
    '__init__': May(),
    'errors': May(),
    'data_types': May('errors', '', 'numpy'),
    'targets': May('errors', 'contextlib fcntl os pathlib shutil'),
    'ros_names': May(''),
    'camera_entries': May('data_types errors'),
    'config': May('camera_entries data_types errors ros_names'),
    'parameter_file': May('errors', 'pathlib', 'yaml'),
    'parameter_check': May('errors parameter_file', 'pathlib'),
    'node_parameters': May('config errors parameter_check parameter_file', 'pathlib'),
    'bundle': May(
        'data_types errors targets', 'concurrent contextlib hashlib mmap os pathlib unicodedata'
    ),
    'rotations': May('data_types', '', 'numpy transforms3d'),
    'core': May('config data_types errors rotations', '', 'numpy'),
    'description': May('data_types errors', 'xml', 'numpy'),
    'joint_limits': May('data_types description errors', '', 'numpy'),
    'arm_model': May('data_types description errors', '', 'numpy pinocchio'),
    'bounded_step': May('data_types', '', 'numpy'),
    'pose_search': May('bounded_step data_types', '', 'numpy pinocchio'),
    'kinematics': May(
        'arm_model data_types description errors joint_limits pose_search', 'threading',
        'numpy pinocchio',
    ),
    'collision_shapes': May(
        'data_types description', 'os pathlib xml', 'numpy pinocchio coal hppfcl'
    ),
    'collision': May(
        'arm_model collision_shapes data_types description errors joint_limits', 'threading',
        'numpy pinocchio',
    ),
    'engines': May('bundle data_types errors', 'os pathlib', 'numpy'),
    'engines.onnxruntime': May(
        'bundle data_types errors', '', 'numpy onnxruntime'
    ),
    'engines.tensorrt': May(
        'bundle data_types errors targets',
        'ctypes hashlib pathlib shlex threading time weakref', 'numpy',
    ),
    'engines.cuda': May(
        'bundle data_types engines.tensorrt.build engines.tensorrt.plans errors targets',
        'contextlib gc hashlib importlib.util os pathlib platform shutil subprocess tempfile time',
        'numpy onnx torch',
    ),
    # Engines of other packages come in here, by the entry points that their metadata names.
    'engines.packages': May(
        'bundle engines.check engines.engine errors', 'importlib.metadata sys'
    ),
    # The other end of a policy server's socket: nothing else of the engines knows the network.
    'engines.remote': May(
        'bundle data_types engines.image_tensor errors',
        'contextlib pathlib secrets socket ssl threading time urllib.parse',
        'msgpack numpy websockets yaml',
    ),
    'engines.fake': May('action_columns bundle data_types errors', '', 'numpy'),
    'hardware': May(
        '', 'ctypes gc os pathlib platform resource shutil signal subprocess threading'
    ),
    'policy': May(
        'bundle config core data_types engines errors', 'time', 'numpy tokenizers'
    ),
    'verified_pass': May('bundle core data_types policy', '', 'numpy'),
    'remote_policy': May(
        'bundle config core data_types engines errors policy', 'pathlib time', 'numpy'
    ),
    'policy_process': May(
        'bundle config data_types errors policy remote_policy',
        'concurrent contextlib ctypes faulthandler fcntl mmap os resource signal socket struct '
        'subprocess sys threading time', 'numpy',
    ),
    # Pictures out of messages and files; every picture that comes from outside passes here.
    'pictures': May('data_types errors', 'io', 'numpy PIL'),
    'lossless_picture': May('errors pictures', 'struct zlib', 'numpy'),
    'pass_record': May('data_types errors loop_status policy', '', 'numpy'),
    'action_columns': May(),
    'state_source': May('bundle data_types errors rotations', '', 'numpy'),
    'motion': May(
        'action_columns bundle collision config core data_types errors kinematics pose_search '
        'rotations', '', 'numpy',
    ),
    'contract': May(
        'action_columns bundle camera_entries config engines.fake engines.image_tensor errors '
        'joint_limits loop_settings'
    ),
    'training_range': May('action_columns bundle data_types', '', 'numpy'),
    'loop_status': May('core data_types'),
    'loop_settings': May('bundle config core data_types', '', 'numpy'),
    'playback': May('config core data_types loop_settings motion', '', 'numpy'),
    'chunk_desk': May(
        'bundle config core data_types loop_settings loop_status motion playback policy'
    ),
    'standing': May('chunk_desk core data_types loop_status playback'),
    'intake': May('errors loop_status playback policy standing'),
    'loop_watch': May('core loop_status playback standing'),
    'way_home': May('config core data_types motion playback', '', 'numpy'),
    'beginning': May('core data_types motion playback standing way_home'),
    'control_loop': May(
        'beginning chunk_desk config core data_types errors intake loop_status loop_watch motion '
        'playback policy standing state_source way_home', 'threading',
    ),
    'serving': May(
        'core data_types engines.remote errors pictures policy verified_pass',
        'concurrent contextlib hmac http pathlib socket ssl threading time',
        'numpy websockets',
    ),
    'ros_packages': May('errors', 'os pathlib'),
    'safe_start': May('errors parameter_file', 'pathlib'),
    'sim': May('data_types errors rotations', 'xml', 'numpy mujoco'),
    'bringup': May(
        'data_types errors parameter_check parameter_file ros_names ros_packages safe_start '
        'sim.robot_description',
        'importlib.util pathlib',
    ),
    'demo': May(
        'bringup data_types engines.image_tensor errors hardware.parent',
        'concurrent errno fcntl os pathlib select signal socket subprocess sys tempfile termios '
        'textwrap time tty',
        'numpy rich',
    ),
    # The page of ``dysl view``: the only server in the house.
    'view': May(
        'data_types description errors pictures',
        'asyncio concurrent hmac ipaddress pathlib secrets socket threading time urllib',
        'aiohttp',
    ),
    'ros': May(
        'action_columns bundle collision config contract control_loop core data_types demo '
        'description engines errors hardware joint_limits kinematics loop_settings loop_status '
        'lossless_picture motion parameter_check parameter_file pass_record pictures policy '
        'policy_process sim '
        'state_source training_range view',
        'concurrent contextlib errno os pathlib queue secrets shutil signal stat sys threading '
        'time traceback',
        f'numpy mcap control_msgs controller_manager_msgs geometry_msgs rcl_interfaces '
        f'rclpy transforms3d visualization_msgs {MESSAGES}',
    ),
    # ``dysl chaos`` also runs against another environment: it knows no more of the package.
    'ros.chaos': May(
        'data_types demo engines.remote.protocol errors ros.qos',
        'contextlib os pathlib random shutil signal socket subprocess sys tempfile textwrap '
        'threading time xml', f'numpy rclpy websockets {MESSAGES}',
    ),
    # Writes a page of the documentation.
    'ros.interface_page': May(
        'bringup data_types demo ros.qos ros.sim_node', 'os sys time', 'diagnostic_msgs rclpy'
    ),
    'cli': May(
        None,
        'argparse asyncio concurrent errno importlib.metadata importlib.util ipaddress os pathlib '
        'platform shlex shutil signal subprocess sys textwrap threading time traceback zipfile '
        'zlib',
        'accelerate matplotlib numpy rich torch',
    ),
    'lab': May(),
    'lab.children': May('', 'contextlib multiprocessing signal'),
    'lab.side_by_side': May('', 'concurrent queue threading'),
    'lab.folders': May('', 'pathlib'),
    'lab.begun_with': May('bundle errors targets', 'hashlib pathlib', 'numpy'),
    'lab.workspace': May('errors targets lab.folders', 'pathlib', 'accelerate torch'),
    # Families of other packages come in here, by the entry points that their metadata names.
    'lab.families': May(
        'data_types errors lab.checked_family lab.data lab.export lab.learn lab.model',
        'importlib.metadata pathlib', 'torch',
    ),
    'lab.other_package': May('errors'),
    'lab.checked_family': May(
        'data_types errors lab.data lab.export lab.learn lab.model lab.other_package',
        'pathlib', 'torch',
    ),
    'lab.plots': May('bundle data_types lab.guidance targets', 'pathlib', 'matplotlib numpy'),
    'lab.recipe': May(
        'errors sim targets lab.begun_with lab.data lab.export lab.folders lab.guidance lab.learn '
        'lab.model lab.workspace lab.worlds', 'contextlib pathlib shutil time', 'torch',
    ),
    'lab.replay': May(
        'bundle config contract core data_types engines errors lab.data lab.guidance '
        'loop_settings lossless_picture pass_record pictures policy targets',
        'pathlib', 'matplotlib numpy',
    ),
    'lab.worlds': May(
        'data_types errors sim lab.children lab.model.shapes', 'multiprocessing os xml', 'numpy'
    ),
    'lab.worlds.libero': May(
        'errors', 'multiprocessing.connection os pathlib subprocess tempfile', 'numpy'
    ),
    # Runs in the benchmark's own environment, with its libraries, and knows nothing else of ours.
    'lab.worlds.libero.inside': May(
        'lab.worlds.libero', 'contextlib io multiprocessing.connection os pathlib sys warnings',
        'PIL libero mujoco numpy',
    ),
    'lab.ablations': May('lab.anchors lab.recipe lab.workspace', 'pathlib'),
    'lab.shallow': May(
        'lab.anchors lab.begun_with lab.learn lab.recipe lab.workspace', 'pathlib'
    ),
    'lab.anchors': May(
        'bundle errors lab.begun_with lab.data lab.folders lab.learn lab.model lab.run_numbers '
        'lab.workspace',
        'pathlib',
    ),
    'lab.run_numbers': May('errors lab.begun_with lab.folders', 'pathlib'),
    'lab.libero_corrections': May(
        'bundle config contract data_types lab.data lab.evaluation lab.worlds policy',
        'pathlib', 'numpy',
    ),
    'lab.libero_recipe': May(
        'bundle config contract errors lab.begun_with lab.data lab.evaluation lab.export '
        'lab.guidance lab.learn lab.libero_corrections lab.model lab.workspace lab.worlds policy',
        'pathlib', 'numpy',
    ),
    'lab.data': May(
        'bundle core data_types engines.image_tensor errors pictures sim targets lab.begun_with '
        'lab.children lab.learn lab.model lab.side_by_side lab.worlds',
        'contextlib io os pathlib shutil tempfile threading time',
        'av numpy pyarrow rosbags tokenizers torch',
    ),
    'lab.data.bags': May(
        'bundle.git_lfs errors', 'contextlib heapq io pathlib sqlite3 struct tempfile',
        'lz4 mcap rosbags yaml zstandard',
    ),
    'lab.learn': May(
        'bundle core.transforms data_types engines.openvla_image errors policy sim '
        'lab.begun_with lab.data lab.guidance lab.model lab.plots lab.workspace lab.worlds',
        'pathlib time', 'accelerate numpy tokenizers torch',
    ),
    'lab.guidance': May(
        'bundle core data_types errors lab.data.bags lab.learn lab.model lab.plots '
        'lab.workspace',
        'pathlib', 'numpy torch',
    ),
    'lab.model': May(
        'bundle data_types errors targets', 'pathlib', 'numpy safetensors torch'
    ),
    'lab.export': May(
        'bundle data_types engines.engine engines.inspection engines.tensorrt.plans errors '
        'targets lab.model',
        'contextlib hashlib io os pathlib shutil tempfile warnings',
        'numpy onnx onnx_ir torch',
    ),
    'lab.evaluation': May(
        'bundle collision config contract control_loop core data_types engines errors kinematics '
        'lab.children lab.data lab.other_package lab.replay lab.side_by_side lab.worlds.libero '
        'loop_settings loop_status motion pictures policy remote_policy serving sim targets '
        'verified_pass',
        'contextlib hashlib importlib.metadata multiprocessing os pathlib shutil sys tempfile '
        'threading time zipfile zlib',
        'PIL av matplotlib numpy onnx openpi_client rich torch',
    ),
}  # fmt: skip

# Where a part may, but only one file of it does: an optional library, or a second world.
ONLY = {
    'control_msgs': {'ros.gripper_goals', 'ros.speed'},
    'controller_manager_msgs': {'ros.controller_watch'},
    'mcap': {'ros.bag_files', 'lab.data.bags.mcap_storage'},
    'PIL': {
        'pictures.files',
        'lab.evaluation.film_pictures',
        'lab.evaluation.film_video',
        'lab.worlds.libero.inside.serve',
    },
    'av': {'lab.data.lerobot_video', 'lab.evaluation.film_video'},
    'openpi_client': {'lab.evaluation.broker'},
    f'{PACKAGE}.sim': {'ros.sim_node'},  # of ros
}
# Imported where they are used, or where ImportError is caught: the rest runs without them.
OPTIONAL = ('av', 'control_msgs', 'controller_manager_msgs', 'openpi_client')
# Of the command line too, so that every command says in a second what it takes.
LATER = ('torch', 'accelerate', 'matplotlib')

# Modules that import by a name that they compute; with literals, the names are listed.
DYNAMIC = {
    'cli.main': None,  # the command that was called
    'engines.tensorrt.api': {'tensorrt'},
}
COMPUTED = ('__import__', 'exec', 'eval', 'compile')
