"""The commands of the pages: each is run by a test, or is parsed by what it calls.

A command that no test runs needs a GPU, a ROS 2 of the system's, or hours: ``KINDS`` says which.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dysl_vla_ros import bringup
from dysl_vla_ros.cli.main import COMMANDS, parser_of

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding='utf-8')
    for path in (ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'SECURITY.md',
                 *sorted((ROOT / 'doc').rglob('*.md')))
}  # fmt: skip
PROGRAMS = ('make', 'dysl', 'ros2', 'colcon', 'rosdep', 'sudo', 'pip', 'python', 'python3', 'git',
            'docker', 'pytest')  # fmt: skip
# First words of a command, the longest that fit count -> what it needs, or the test that runs it.
KINDS = {
    'make demo': 'ros/test_demo.py', 'make test': '../.ci/run', 'make test-all': '../.ci/run',
    'make libero': 'hours',
    'make lint': '../Makefile', 'make test-gpu': 'needs-gpu', 'make clean': '../Makefile',
    'dysl anchors': 'lab/learn/test_anchors.py',
    'dysl bench': 'cli/test_bench.py', 'dysl build': 'needs-gpu',
    'dysl calibrate': 'cli/test_pipeline.py', 'dysl chaos': 'ros/test_chaos_command.py',
    'dysl collect': 'cli/test_pipeline.py', 'dysl demo': 'ros/test_demo.py',
    'dysl distill': 'cli/test_pipeline.py', 'dysl doctor': 'cli/test_doctor.py',
    'dysl evaluate': 'lab/evaluation/test_evaluate.py', 'dysl export': 'cli/test_pipeline.py',
    'dysl film': 'lab/evaluation/test_episode_film.py',
    'dysl headroom': 'cli/test_headroom_command.py', 'dysl help': 'cli/test_help.py',
    'dysl --version': 'cli/test_help.py', 'dysl --help': 'cli/test_help.py',
    'dysl inspect': 'cli/test_inspect.py', 'dysl recipe': 'hours',
    'dysl serve': 'cli/test_serve_command.py',
    'dysl soak': 'ros/test_chaos_command.py', 'dysl train': 'cli/test_pipeline.py',
    'dysl results': 'cli/test_results.py',
    'dysl verify': 'cli/test_verify_command.py', 'dysl import': 'test_tutorial.py',
    'dysl replay': 'lab/replay/test_replay.py',
    'dysl view': 'ros/test_view_page.py',
    'ros2': 'needs-ros', 'colcon': 'needs-ros', 'rosdep': 'needs-ros', 'sudo': 'needs-ros',
    'python -m dysl_vla_ros.config': 'test_documentation.py',
    'python -m dysl_vla_ros.ros.interface_page': 'ros/test_interface_page.py',
    'python -m pip': '../Makefile', 'pip': '../Makefile', 'python3 -m venv': '../Makefile',
    'python3 -m pip': '../Makefile', 'git': 'needs-ros', 'docker': 'needs-ros',
    'pytest': 'needs-gpu', 'dysl': 'test_readme_commands.py', 'python3': 'needs-ros',
    'python': 'needs-ros',
}  # fmt: skip
INTERFACE = (ROOT / 'doc' / 'interface.md').read_text(encoding='utf-8')


KNOWN = (*PROGRAMS, 'mkdir', 'source', 'cd')


def commands(page):
    """Command lines of the page's code blocks: continued lines joined, comments cut, && split."""
    found = []
    # Every block is matched, so that the end of one in another language begins none.
    blocks = re.findall(r'^ *```(\w*)\n(.*?)^ *```', page, re.DOTALL | re.MULTILINE)
    for block in (text for language, text in blocks if language in ('', 'sh', 'bash')):
        for line in map(str.strip, re.sub(r'\\\n\s*', ' ', block).splitlines()):
            words = shlex.split(line, comments=True) if line.split(' ')[0] in KNOWN else []
            while words:
                end = words.index('&&') if '&&' in words else len(words)
                found.append(words[:end])
                words = words[end + 1 :]
    return [words for words in found if words]


def inline(page):
    """Commands in the running text, between backticks."""
    text = re.sub(r'^ *```.*?^ *```', '', page, flags=re.DOTALL | re.MULTILINE)
    text = text.replace('\n', ' ')
    codes = re.findall(r'`((?:make|dysl|ros2|colcon) [^`]+)`', text)
    found = [shlex.split(code) for code in codes]
    parts = (['ros2', 'launch'], ['ros2', 'topic', 'pub'])
    return [words for words in found if words not in parts]


BLOCKS = [words for page in PAGES.values() for words in commands(page)]
EVERY = [(name, words) for name, page in PAGES.items() for words in commands(page) + inline(page)]


def calls(*start):
    return [
        pytest.param(words, id=f'{name}: {" ".join(words)[:60]}')
        for name, words in EVERY
        if words[: len(start)] == list(start) and words[len(start) :][:1] != ['...:']
    ]  # fmt: skip


def test_the_pages_hold_commands_of_every_kind():
    kinds = {words[0] for _, words in EVERY}
    assert {'make', 'ros2', 'dysl', 'colcon', 'rosdep', 'sudo', 'pip'} <= kinds
    assert len(calls('ros2', 'launch')) >= 4 and len(calls('dysl')) >= 12


@pytest.mark.parametrize('words', calls('make'))
def test_a_target_exists_and_its_arguments_are_taken(words):
    targets = re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    assert words[1] in targets
    for word in words[2:]:
        name, _, value = word.partition('=')
        assert name in ('ARGS', 'VENV', 'PYTHON'), word
        if (words[1], name) == ('demo', 'ARGS'):
            parsed('demo', shlex.split(value))


def parsed(command, words):
    """What argparse makes of a call; fails where it would print the usage and leave."""
    try:
        return parser_of(command).parse_args(words)
    except (SystemExit, argparse.ArgumentError) as error:
        pytest.fail(f'dysl {command} {words}: {error}')


@pytest.mark.parametrize('words', calls('dysl'))
def test_a_call_of_dysl_is_one_that_it_takes(words):
    assert words[1] in COMMANDS
    parser = parser_of(words[1])
    known = {option for action in parser._actions for option in action.option_strings}
    assert {word for word in words[2:] if word.startswith('--')} <= known
    if words in BLOCKS and not {'...', '--help'} & set(words):
        parsed(words[1], words[2:])


def kind_of(words):
    """What a command needs, or the test that runs it."""
    for end in range(len(words), 0, -1):
        if (found := KINDS.get(' '.join(words[:end]))) is not None:
            if words[:2] == ['make', 'demo'] and '--episodes 100' in ' '.join(words):
                return 'hours'
            episodes = re.search(r'--episodes (\d+)', ' '.join(words))
            many = words[1:2] in (['evaluate'], ['headroom'], ['calibrate'], ['collect'])
            return 'hours' if many and episodes and int(episodes[1]) > 20 else found
    return None


def test_every_command_is_run_by_a_test_or_says_what_it_needs(capsys):
    counts = {}
    for name, words in EVERY:
        if words[0] not in PROGRAMS:
            continue
        kind = kind_of(words)
        assert kind is not None, f'{name}: {words}: a line in KINDS'
        if kind not in ('needs-gpu', 'needs-ros', 'hours'):
            assert (ROOT / 'test' / kind).is_file(), kind
            kind = 'run'
        counts[kind] = counts.get(kind, 0) + 1
    assert counts['run'] > counts['hours'] + counts['needs-gpu']
    with capsys.disabled():
        print('\ncommands of the pages:', ', '.join(f'{n} {kind}' for kind, n in counts.items()))


@pytest.mark.parametrize('words', calls('ros2', 'launch', 'dysl_vla_ros'))
def test_a_launch_line_is_one_that_the_launch_file_takes(words, tmp_path):
    assert words[2:4] == ['dysl_vla_ros', 'manipulation.launch.py']
    assert (ROOT / 'launch' / words[3]).is_file()
    arguments = dict(word.split(':=', 1) for word in words[4:] if word != '...')
    if 'params_file' in arguments:
        arguments['params_file'] = str(ROOT / 'config' / 'robots' / 'ur5e.yaml')
    bringup.check(arguments)
    for name in ('rviz', 'foxglove', 'record', 'record_video'):  # packages of other people
        arguments.pop(name, None)
    specs = bringup.nodes(arguments)
    assert specs[-1].name == 'vla_node' or specs[0].name == 'sim_arm'
    for spec in specs:
        assert spec.command_line('python3')


def names_of_the_interface():
    table = {}
    for line in INTERFACE.splitlines():
        for name in re.findall(r'`([~/\w]+)`', line):
            kind = re.search(r'(\w+_msgs)/(\w+)', line)
            if kind:
                table.setdefault(name, f'{kind[1]}/msg/{kind[2]}')
    return table


SERVICES = {'~/start': 'Trigger', '~/stop': 'Trigger', '~/estop_reset': 'Trigger',
            '~/arm': 'SetBool', '~/pause': 'SetBool'}  # fmt: skip


@pytest.mark.parametrize('words', calls('ros2', 'service', 'call'))
def test_a_service_exists_with_that_type_and_fields(words):
    name, kind, *request = words[3:]
    own = re.sub(r'^(/follower)?/vla_node/', '~/', name)
    assert own in SERVICES and f'`{own}`' in INTERFACE
    assert kind == f'std_srvs/srv/{SERVICES[own]}'
    fields = yaml.safe_load(request[0]) if request else {}
    assert fields.keys() == ({'data'} if SERVICES[own] == 'SetBool' else set())


@pytest.mark.parametrize('words', calls('ros2', 'topic'))
def test_a_topic_exists_with_that_type(words):
    verb, rest = words[2], [word for word in words[3:] if not word.startswith('-')]
    own = re.sub(r'^(/follower)?/vla_node/', '~/', rest[0]).replace('~/shadow/', '')
    own = own.replace('/follower/', '/')
    if verb == 'hz':
        return
    known = names_of_the_interface()
    assert own in known or own.lstrip('/') in known, own
    if verb == 'pub':
        assert rest[1] == known.get(own) or rest[1] == known[own.lstrip('/')]
        assert yaml.safe_load(rest[2]).keys() == {'data'}


def test_the_way_onto_a_ros_machine_is_five_lines_and_the_same_in_both_places():
    def block(page):
        return re.search(r'```\n(sudo apt install ros-.*?)```', page, re.DOTALL)[1]

    assert block(README) == block(PAGES['doc/install.md'])
    assert len(block(README).splitlines()) == 5


def test_what_pip_is_asked_for_fits_what_the_package_needs():
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    (words,) = [words for words in commands(README) if words[:2] == ['pip', 'install']]
    asked = [word for word in words[2:] if '>=' in word]
    assert len(asked) == 4
    for word in asked:
        name, bounds, _, marker = re.match(r'([\w-]+)>=([\d.]+)([^;]*);?(.*)', word).groups()
        assert f"'{name}>={bounds}" in setup, word
        # Humble's Python is 3.10: each of the two MuJoCos for the Pythons that it has wheels for.
        (line,) = [one for one in setup.splitlines() if f"'{name}>={bounds}" in one]
        assert marker == ''.join(re.findall(r'; (python_version.*?)\'', line)).replace(' ', ''), (
            word
        )


@pytest.mark.parametrize('words', [['doctor'], ['--help'], ['demo', '--help']])
def test_what_costs_nothing_is_run(words):
    done = subprocess.run(
        [sys.executable, '-m', 'dysl_vla_ros.cli.main', *words], cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stdout + done.stderr


@pytest.mark.parametrize('path', re.findall(r'\]\(([^)#h][^)]*)\)', README))
def test_a_link_of_the_readme_leads_somewhere(path):
    name, _, heading = path.partition('#')
    assert (ROOT / name).exists()
    if heading:
        titles = re.findall(r'^#+ (.*)$', (ROOT / name).read_text(), flags=re.MULTILINE)
        assert heading in {re.sub(r'[^a-z0-9 -]', '', t.lower()).replace(' ', '-') for t in titles}
