"""Calls of ``dysl`` that nobody could mean, what each must say, and what they are called with.

Run as a program it makes all of them in one process in which the large libraries cannot be
imported, and prints what each said: so each ends before anything large is loaded, within a moment.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

HEAVY = ('torch', 'accelerate', 'matplotlib', 'pyarrow', 'onnxruntime', 'onnx', 'safetensors',
         'rclpy', 'rosbags', 'av', 'transformers')  # fmt: skip
WRONG, FAILED = 2, 1

# Words of the call, what it says, its exit code. Names in capitals are places: see ``places``.
CALLS = [
    ('', 'which command? anchors, bench, build', WRONG),
    ('evalute', "no command 'evalute': did you mean evaluate?", WRONG),
    ('Demo', 'did you mean demo?', WRONG),
    ('nothing', "there is no command 'nothing'", WRONG),
    ('--versoin', 'did you mean --version?', WRONG),
    ('-x', 'there is no option -x before a command', WRONG),
    ('bench --engine NOWHERE', 'there is nothing of this name', WRONG),
    ('bench --engine TEXT', 'with a manifest.json: this is a file', WRONG),
    ('bench --engine EMPTY', 'in this one there is nothing', WRONG),
    ('bench --engine FOREIGN', 'in this one there is thesis.tex', WRONG),
    ('bench --engine CUT', 'manifest.json: not valid JSON', FAILED),
    ('bench --engine NEWER', 'version = 99: expected 1, which this release reads', FAILED),
    ('bench --engine OTHER', "expected 'dysl_vla_bundle'", FAILED),
    ('bench --engine SHORT', 'copy it again', FAILED),
    ('bench --backend gpu', "--backend = 'gpu': expected one of auto, onnxruntime", WRONG),
    ('bench --backend tensort', 'did you mean tensorrt', WRONG),
    ('bench --runs 0', "--runs = '0': expected a whole number, at least 1", WRONG),
    ('bench --runs 1e9', 'expected a whole number', WRONG),
    ('bench --threads -1', 'within [1, 1024]', WRONG),
    ('bench --observations NOWHERE', 'a .npz file of arrays: there is nothing', WRONG),
    ('bench --observations NPZ', 'this one is cut off, or something else', WRONG),
    ('bench --observations BLANK.npz', 'this file is empty', WRONG),
    ('bench --json FOREIGN', 'the name of a file: this is a folder', WRONG),
    ('bench --json TEXT', 'a report that dysl wrote', WRONG),
    ('bench --json TEXT/report.json', 'is a file', WRONG),
    ('bench --json LINK', 'this is a link to', WRONG),
    ('bench --json /proc/report.json', 'a place that can be written: /proc', WRONG),
    ('bench --roofline --json FOREIGN', 'this is a folder', WRONG),
    ('bench --roofline --runs 3 --engine x --threads 2', 'left away beside --roofline', WRONG),
    ('bench --observations NPZ --count 3', 'left away beside --observations', WRONG),
    ('build', 'bundle is missing', WRONG),
    ('build NOWHERE', 'there is nothing of this name', WRONG),
    ('build BUNDLE --optimization-level 9', 'within [0, 5]', WRONG),
    ('build BUNDLE --workspace-mib -1', 'at least 0', WRONG),
    ('calibrate', 'target is missing', WRONG),
    ('calibrate NOWHERE', 'there is nothing of this name', WRONG),
    ('calibrate TEXT', 'expected a checkpoint written by dysl train', WRONG),
    ('calibrate EMPTY', 'in this one there is nothing', WRONG),
    ('calibrate TENSORS', 'this one is cut off: copy it again', WRONG),
    ('calibrate NEWER', 'a newer release wrote the bundle', FAILED),
    ('calibrate BUNDLE --episodes 0', '--episodes', WRONG),
    ('calibrate BUNDLE --drop-rate 1', 'above 0 and below 1', WRONG),
    ('calibrate BUNDLE --drop-rate nan', 'above 0 and below 1', WRONG),
    ('calibrate BUNDLE --depth 5', 'a share of the layers', WRONG),
    ('calibrate BUNDLE --weights 1 2', '--weights = 1.0 2.0: expected 7 numbers', WRONG),
    ('calibrate BUNDLE --weights a', '--weights = a: expected balanced, equal', WRONG),
    ('calibrate BUNDLE --weights nan 1 1 1 1 1 1', 'none negative', WRONG),
    ('calibrate BUNDLE --rule fast', 'expected one of ceil, level', WRONG),
    ('calibrate BUNDLE --bag NOWHERE', 'an .mcap file, or a folder with one', WRONG),
    ('calibrate BUNDLE --bag EMPTY', 'in this one there is none', WRONG),
    ('calibrate BUNDLE --observations NPZ --depth 0.5', 'cut off', WRONG),
    ('calibrate BUNDLE --by-instruction NOWHERE', 'a report of dysl evaluate --world', WRONG),
    ('calibrate BUNDLE --by-instruction NOWHERE --depth 0.5 --episodes 3',
     "--depth, --episodes = '0.5, 3': expected to be left away beside a bundle", WRONG),
    ('calibrate BUNDLE --topic /chunks', '--topic is of a bundle with --bag', WRONG),
    ('calibrate BUNDLE --latency soon', "--latency = 'soon': expected measured, zero", WRONG),
    ('calibrate BUNDLE --latency nan', 'within [0, 10] seconds', WRONG),
    ('calibrate BUNDLE --first-seed -1', 'within [0, 2147483647]', WRONG),
    ('calibrate BUNDLE --first-seed 99999999999', 'within [0, 2147483647]', WRONG),
    ('calibrate BUNDLE --out FOREIGN', 'there is thesis.tex in this one', WRONG),
    ('calibrate BUNDLE --dataset SET', 'the static layers of a bundle are fixed', WRONG),
    ('chaos --only jionts', 'did you mean joints?', WRONG),
    ('chaos --minutes nan', 'a number above 0', WRONG),
    ('chaos --bundle NOWHERE', 'there is nothing of this name', WRONG),
    ('chaos --prefix FOREIGN', 'a virtual environment', WRONG),
    ('chaos --json TEXT', 'a report that dysl wrote', WRONG),
    ('collect', 'dataset is missing', WRONG),
    ('collect OUT --episodes -3', '--episodes', WRONG),
    ('collect OUT --policy NOWHERE', 'there is nothing of this name', WRONG),
    ('collect OUT --policy TEXT', 'this file is something else', WRONG),
    ('collect OUT --noise nan', '--noise', WRONG),
    ('collect OUT --split tain', 'did you mean train?', WRONG),
    ('demo --headles', 'there is no option --headles: did you mean --headless', WRONG),
    ('demo fly to the moon', "instruction = 'fly to the moon'", WRONG),
    ('demo --seconds -1', '--seconds = -1.0: expected 0 (until Ctrl-C) or more', WRONG),
    ('demo --seconds nan', '--seconds = nan: expected 0 (until Ctrl-C) or more', WRONG),
    ('demo --episodes -3', '--episodes = -3: expected 0 (until Ctrl-C) or more', WRONG),
    ('demo --domain-id 999', '--domain-id = 999: expected within [0, 232]', WRONG),
    ('demo --engine NOWHERE', 'there is nothing of this name', WRONG),
    ('demo --json FOREIGN', 'this is a folder', WRONG),
    ('demo seed:=1e999', "seed = '1e999': expected a whole number", WRONG),
    ('demo seed:=1.7', "seed = '1.7': expected a whole number", WRONG),
    ('demo robt:=sim', 'robt', WRONG),
    ('demo namespace:=9left', "namespace = '9left': expected names such as 'left'", WRONG),
    ('demo robot:=ur5e command_rate_hz:=inf',
     "command_rate_hz = 'inf': expected a finite number", WRONG),
    ('distill TENSORS --out OUT', '--dataset is missing', WRONG),
    ('distill NOWHERE --dataset SET --out OUT', 'there is nothing of this name', WRONG),
    ('distill TENSORS --dataset SET --out OUT --episodes 9',
     "--episodes = '9': expected to be left away beside a checkpoint: ", WRONG),
    ('distill TEXT --dataset SET --out OUT', 'a checkpoint written by dysl train', WRONG),
    ('doctor EXTRA', 'one argument too many', WRONG),
    ('doctor --json TEXT', 'a report that dysl wrote', WRONG),
    ('doctor --cameras --seconds 0', 'within [0.5, 600]', WRONG),
    ('evaluate --engine TEXT', 'this is a file', WRONG),
    ('evaluate --modes fast', "--modes = 'fast': expected one of full, auto", WRONG),
    ('evaluate --families pik', 'did you mean pick?', WRONG),
    ('evaluate --episods 3', 'did you mean --episodes', WRONG),
    ('evaluate --time-limit 0', 'a number above 0, at most 3600', WRONG),
    ('evaluate --workers 0', 'within [1, 1024]', WRONG),
    ('evaluate --params-file NOWHERE', 'a parameter file: there is nothing', WRONG),
    ('evaluate --params-file FOREIGN', 'a parameter file: this is a folder', WRONG),
    ('evaluate --params-file BRACKET', '--params-file = ', WRONG),
    ('evaluate --keep TEXT', 'a file that dysl kept episodes in', WRONG),
    ('evaluate --plot TEXT', 'a picture that dysl evaluate drew', WRONG),
    ('evaluate --modes oracle', '--tolerance is missing: expected one or more numbers', WRONG),
    ('evaluate --tau nan', '--tau', WRONG),
    ('evaluate --modes full blend', 'seconds with the modes blocking and blend', WRONG),
    ('evaluate --modes full noise_free', '--noise is missing: expected one or more', WRONG),
    ('evaluate --modes full paced', '--pace is missing: expected one or more', WRONG),
    ('evaluate --modes full paced --pace hunch', 'SIGNAL:EXIT@LEFT', WRONG),
    ('evaluate --world libero --engine . --modes blend', 'none of these with --world', WRONG),
    ('export', 'checkpoint, bundle are missing', WRONG),
    ('export NOWHERE OUT', 'there is nothing of this name', WRONG),
    ('export TEXT OUT', 'expected a checkpoint written by dysl train', WRONG),
    ('export TENSORS OUT', 'cut off', WRONG),
    ('export BUNDLE OUT', 'which is exported already', WRONG),
    ('export TENSORS FOREIGN', 'there is thesis.tex in this one', WRONG),
    ('export TENSORS OUT --precision int4', 'expected one of fp32, fp16', WRONG),
    ('film --out OUT.avi', 'a name that ends in', WRONG),
    ('film --mode fst', "--mode = 'fst'", WRONG),
    ('headroom --tolerance 0', '--tolerance', WRONG),
    ('headroom --gate -8', "--gate = '-8': expected a whole number, at least 21", WRONG),
    ('headroom --gate 3', "--gate = '3': expected a whole number, at least 21", WRONG),
    ('headroom --gate 60 --tolerance 0.1 --episodes 2 --workers 4',
     "--tolerance, --episodes, --workers = '0.1, 2, 4': expected to be left away", WRONG),
    ('headroom --gate 60 --observations NPZ --first-seed 3', 'with --observations', WRONG),
    ('headroom --observations NPZ', 'cut off', WRONG),
    ('import', 'source, out are missing', WRONG),
    ('import NOWHERE OUT', 'there is nothing of this name', WRONG),
    ('import SET OUT --fps -1', '--fps', WRONG),
    ('import SET OUT --joints /js --label /say --text go',
     "--joints, --label = '/js, /say': expected to be left away beside a LeRobot set: ", WRONG),
    ('import FOREIGN OUT --units degrees --only a b --gripper-range 0 1 --action-space eef_pose',
     "action-space = 'degrees, a b, 0 1, eef_pose': expected to be left away beside rec", WRONG),
    ('import SET OUT --held-out 0.5', 'there is no option --held-out', WRONG),
    ('import SET OUT --action-names', '--action-names: expected at least one argument', WRONG),
    ('replay', 'bag is missing', WRONG),
    ('replay NOTHING', "bag = '': expected a path; . is the current folder", WRONG),
    ('bench --engine NOTHING', "--engine = '': expected a text, or --engine left away", WRONG),
    ('bench --engine=', "--engine = '': expected a text, or --engine left away", WRONG),
    ('serve NOTHING', "an argument = '': expected a text", WRONG),
    ('serve --token-file NOTHING', "--token-file = '': expected a text, or --token", WRONG),
    ('bench --json NOTHING', "--json = '': expected a path", WRONG),
    ('replay NOWHERE', 'a recording: there is nothing of this name', WRONG),
    ('replay SET --engine TEXT', 'this is a file', WRONG),
    ('replay SET --every 0', "--every = '0': expected a number above 0", WRONG),
    ('replay SET --tau 2', 'within [0, 1]', WRONG),
    ('serve NOWHERE', 'nothing of this name', WRONG),
    ('serve --port 99999', 'within [0, 65535]', WRONG),
    ('serve --backend gpu', 'expected one of auto', WRONG),
    ('view --port -1', 'within [0, 65535]', WRONG),
    ('view --domain-id 999', 'within [0, 232]', WRONG),
    ('anchors', 'folder is missing', WRONG),
    ('anchors NOWHERE --layers 5', 'there is nothing of this name', WRONG),
    ('anchors FOREIGN', '--exit-layer is missing: expected --exit-layer, --layers, ', WRONG),
    ('anchors FOREIGN --layers 0', '--layers', WRONG),
    ('anchors FOREIGN --layers 5', 'that of a run of dysl recipe: in this one there is', WRONG),
    ('anchors FOREIGN --together x', '--together', WRONG),
    ('anchors FOREIGN --layers 5 --deepest 9', '--deepest = 9: expected --by-instruction', WRONG),
    ('anchors FOREIGN --own-corrections --exit-layer 5', 'expected --layers N with it', WRONG),
    ('anchors FOREIGN --by-instruction NOWHERE', 'there is nothing of this name', WRONG),
    ('results --evidence NOWHERE', 'a folder of reports', WRONG),
    ('results --run nothing', 'expected one of results_tabletop', WRONG),
    ('results --minutes 0', 'a number above 0', WRONG),
    ('results --anchor fixed_8', 'without --run', WRONG),
    ('results --check a.md --write b.md', 'beside --check', WRONG),
    ('evaluate --world mars', 'expected one of tabletop, libero', WRONG),
    ('evaluate --world package:mars --modes full --first-start 9', 'first-start', WRONG),
    ('evaluate --world libero --engine . --first-start 49 --modes full', 'starts = 50', WRONG),
    ('evaluate --world package:mars --modes full --workers 2', 'workers = 2', WRONG),
    ('evaluate --control blank', 'here --probe shuffled_instruction or blank_image', WRONG),
    ('evaluate --world libero --engine . --latency garbage', '--latency is of --world', WRONG),
    ('evaluate --world package:mars --episodes 5', 'here --starts', WRONG),
    ('evaluate --random-depth 0.4', '--random-depth is of mode random', WRONG),
    ('evaluate --world libero --engine . --modes full deer', '--deer-ratio is missing', WRONG),
    ('inspect', 'folder is missing', WRONG),
    ('inspect NOWHERE', 'there is nothing of this name', WRONG),
    ('inspect TEXT', 'this is a file', WRONG),
    ('inspect NOTES', 'its config.json and weights: in this one there is notes.json, and no model',
     WRONG),
    ('inspect NOTHING', "folder = '': expected a path", WRONG),
    ('inspect FOREIGN', 'in this one there is thesis.tex', WRONG),
    ('inspect CUT', 'not valid JSON', FAILED),
    ('inspect A B', "'B' is one argument too many", WRONG),
    ('recipe', '--folder is missing', WRONG),
    ('recipe --folder FOREIGN', 'there is thesis.tex in this one', WRONG),
    ('recipe --folder OUT --until nothing', 'expected one of demonstrations, dense', WRONG),
    ('recipe --folder OUT --rounds 0 --round-episodes 5', 'there is no round', WRONG),
    ('recipe --folder OUT --until demonstrations', 'dysl collect', WRONG),
    ('recipe --folder OUT --start NOWHERE', 'there is nothing of this name', WRONG),
    ('soak --minutes -1', 'a number above 0', WRONG),
    ('soak --engine NOWHERE', 'there is nothing of this name', WRONG),
    ('soak --plot TEXT', 'a picture that dysl soak drew', WRONG),
    ('train', 'expected the folder of a LeRobot set: dysl train DATASET', WRONG),
    ('train --dataset NOWHERE --out OUT', 'there is nothing of this name', WRONG),
    ('train --dataset TEXT --out OUT', 'this is a file', WRONG),
    ('train --dataset FOREIGN --out OUT', 'in this one there is thesis.tex', WRONG),
    ('train --dataset CUTSET --out OUT', 'that is JSON', WRONG),
    ('train --dataset SET --out FOREIGN', 'there is thesis.tex in this one', WRONG),
    ('train SET --start TENSORS --layers 9 --horizon 16 --units auto --gripper none',
     "--layers, --horizon, --units, --gripper = '9, 16, auto, none': expected to be left", WRONG),
    ('train --dataset SET --out OUT --steps 0', '--steps', WRONG),
    ('train --dataset SET --out OUT --action-units grads', 'expected one of auto, radians', WRONG),
    ('train --dataset SET --out OUT --width 48', '--width = 48: expected a multiple of 32', WRONG),
    ('train --dataset SET --out OUT --only', '--only: expected at least one argument', WRONG),
    ('train --dataset SET --out OUT', 'needs torch, which is not installed', FAILED),
    ('verify', 'bundle is missing', WRONG),
    ('verify NOWHERE', 'there is nothing of this name', WRONG),
    ('verify BUNDLE --against TEXT', 'a checkpoint written by dysl train', WRONG),
    ('verify BUNDLE --inputs NPZ', 'cut off', WRONG),
    ('verify BUNDLE --patterns 0', '--patterns', WRONG),
]  # fmt: skip


def places(root: Path) -> dict[str, str]:
    """Make what the calls name; word -> path."""
    bundled = Path(__file__).resolve().parents[2] / 'resource' / 'models' / 'tabletop'
    text = (bundled / 'manifest.json').read_text()
    (root / 'text.txt').write_text('no checkpoint\n')
    (root / 'empty').mkdir()
    (root / 'foreign').mkdir()
    (root / 'foreign' / 'thesis.tex').touch()
    for name, manifest in (
        ('cut', text[: len(text) // 2]), ('newer', text.replace('"version": 1', '"version": 99')),
        ('other', text.replace('"format": "', '"format": "x')), ('short', text),
    ):  # fmt: skip
        shutil.copytree(bundled, root / name)
        (root / name / 'manifest.json').write_text(manifest)
    graph = min((root / 'short').rglob('*.onnx'))
    graph.write_bytes(graph.read_bytes()[:-10])
    head = b'{"__metadata__": {"kind": "dysl_vla_checkpoint_1"}, "w": {"data_offsets": [0, 99]}}'
    (root / 'cut.safetensors').write_bytes(len(head).to_bytes(8, 'little') + head + b'..')
    (root / 'cut.npz').write_bytes(b'PK\x03\x04')
    (root / 'blank.npz').touch()
    (root / 'bracket.yaml').write_text('vla_node: [1')
    for name, info in (('set', '{"codebase_version": "v3.0"}'), ('cutset', '{"codebase_')):
        (root / name / 'meta').mkdir(parents=True)
        (root / name / 'meta' / 'info.json').write_text(info)
    (root / 'notes').mkdir()
    (root / 'notes' / 'notes.json').write_text('{}')
    (root / 'link').symlink_to(root / 'text.txt')
    return {
        'NOWHERE': 'nowhere', 'TEXT': 'text.txt', 'EMPTY': 'empty', 'FOREIGN': 'foreign',
        'CUT': 'cut', 'NEWER': 'newer', 'OTHER': 'other', 'SHORT': 'short', 'NPZ': 'cut.npz',
        'TENSORS': 'cut.safetensors', 'BLANK': 'blank', 'SET': 'set', 'CUTSET': 'cutset',
        'NOTES': 'notes', 'LINK': 'link', 'NOTHING': '', 'BRACKET': 'bracket.yaml', 'OUT': 'out',
        'BUNDLE': str(bundled),
    }  # fmt: skip


class Absent(MetaPathFinder):
    """The large libraries are not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in HEAVY:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)


def words_of(call: str, known: dict[str, str]) -> list[str]:
    """The words of a call, with the places put in; longest names first (CUTSET before CUT)."""
    words = []
    for word in call.split():
        for name in sorted(known, key=len, reverse=True):
            if word == name or word.startswith((f'{name}/', f'{name}.')):
                word = known[name] + word[len(name) :]
                break
        words.append(word)
    return words


def main() -> None:
    """Make all calls here, in the current folder; print what each said."""
    sys.meta_path.insert(0, Absent())
    from dysl_vla_ros.cli.main import main as dysl

    known, found = places(Path.cwd()), []
    for call, _, _ in CALLS:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = dysl(words_of(call, known))
        found.append([code, out.getvalue(), err.getvalue()])
    print(json.dumps(found))


if __name__ == '__main__':
    main()
