"""Humble has no wheels: what the node uses is compared with Humble's published signatures.

``humble_api.json`` holds names and parameters only. Static: neither rclpy nor messages are
imported, so that this runs everywhere.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

FACTS = json.loads(Path(__file__).with_name('humble_api.json').read_text())
SOURCES = sorted((Path(__file__).parents[2] / 'dysl_vla_ros' / 'ros').rglob('*.py'))
CLASSES = FACTS['classes']
INTERFACES = FACTS['interfaces']
PACKAGES = {name.split('/')[0] for name in INTERFACES}
ELSEWHERE = {'control_msgs', 'controller_manager_msgs'}
"""Optional packages whose sources are not part of the facts."""
MESSAGE_NAMES = {'message', 'request', 'response', 'point', 'turn', 'answer', 'goal', 'info'}
"""Variables that hold messages in the node's files."""
NUMPY_AND_PYTHON = {'tolist', 'success', 'message'}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCES:
        yield path, ast.parse(path.read_text(encoding='utf-8'), str(path))


def where(path: Path, node: ast.AST) -> str:
    return f'{path.name}:{node.lineno}'  # type: ignore[attr-defined]


def imports(tree: ast.Module) -> Iterator[tuple[ast.ImportFrom, str, str, str]]:
    """(statement, module, name, local name) of every ``from`` import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node, node.module, alias.name, alias.asname or alias.name


def members(name: str) -> dict[str, list[str] | None]:
    """Of a class, inherited ones included."""
    found: dict[str, list[str] | None] = {}
    for base in CLASSES[name]['bases']:
        if base in CLASSES:
            found |= members(base)
    return found | CLASSES[name]['members']


def own_names(tree: ast.Module) -> set[str]:
    """Functions and attributes that a file defines itself."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


ALL_OWN = {name for _, tree in trees() for name in own_names(tree)}


def interface_of(module: str, name: str) -> str | None:
    package, _, kind = module.partition('.')
    return f'{package}/{kind}/{name}' if package in PACKAGES else None


def test_there_is_something_to_check():
    assert len(SOURCES) > 10
    assert 'LifecycleNode' in CLASSES
    assert INTERFACES['sensor_msgs/msg/JointState'][:3] == ['header', 'name', 'position']


def test_every_imported_name_exists_in_humble():
    unknown = []
    for path, tree in trees():
        for node, module, name, _ in imports(tree):
            top = module.split('.')[0]
            if top == 'rclpy':
                exists = name in FACTS['modules'].get(module, ()) or (
                    f'{module}.{name}' in FACTS['modules']
                )
            elif top in PACKAGES:
                key = interface_of(module, name)
                exists = key in INTERFACES or f'{key}/Request' in INTERFACES
            else:
                exists = not top.endswith('_msgs') or top in ELSEWHERE
            if not exists:
                unknown.append(f'{where(path, node)} from {module} import {name}')
    assert not unknown


def test_every_keyword_of_a_message_is_a_field_in_humble():
    wrong = []
    for path, tree in trees():
        local = {alias: interface_of(module, name) for _, module, name, alias in imports(tree)}
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            key = local.get(call.func.id) if isinstance(call.func, ast.Name) else None
            if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
                base = local.get(call.func.value.id)
                key = f'{base}/{call.func.attr}' if base else None
            if key is None or key not in INTERFACES:
                continue
            assert not call.args, f'{where(path, call)}: fields of {key} need their names'
            for keyword in call.keywords:
                if keyword.arg not in INTERFACES[key]:
                    wrong.append(f'{where(path, call)} {key}({keyword.arg}=)')
    assert not wrong


def test_every_attribute_of_a_message_variable_is_a_field_in_humble():
    fields = {field for names in INTERFACES.values() for field in names} | NUMPY_AND_PYTHON
    wrong = []
    for path, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or root_name(node) not in MESSAGE_NAMES:
                continue
            if node.attr not in fields | ALL_OWN and not is_method_of_value(node):
                wrong.append(f'{where(path, node)} .{node.attr}')
    assert not wrong


def root_name(node: ast.expr) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ''


def is_method_of_value(node: ast.Attribute) -> bool:
    return node.attr in dir(str) or node.attr in dir(list)


def receivers(tree: ast.Module, names: set[str]) -> Iterator[ast.Attribute]:
    """Attributes taken of a variable ``name`` or of an attribute ``_name``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        value = node.value
        if (isinstance(value, ast.Name) and value.id in names) or (
            isinstance(value, ast.Attribute) and value.attr.lstrip('_') in names
        ):
            yield node


@pytest.mark.parametrize(
    ('variables', 'classes'),
    [
        ({'node'}, ('Node', 'LifecycleNode')),
        ({'executor'}, ('SingleThreadedExecutor',)),
        ({'publisher', 'live', 'shadow', 'metadata'}, ('Publisher',)),
        ({'raw', 'compressed'}, ('Subscription',)),
        ({'attention'}, ('GuardCondition',)),
    ],
)
def test_every_member_used_of_an_rclpy_object_exists_in_humble(variables, classes):
    allowed = set().union(*(members(name) for name in classes)) | ALL_OWN
    wrong = [
        f'{where(path, node)} .{node.attr}'
        for path, tree in trees()
        for node in receivers(tree, variables)
        if node.attr not in allowed
    ]
    assert not wrong


def test_what_came_after_humble_is_not_used_anywhere():
    newer = set(FACTS['only_newer']) - ALL_OWN
    assert 'add_post_set_parameters_callback' in newer
    used = [
        f'{where(path, node)} .{node.attr}'
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in newer
    ]
    assert not used


def test_every_keyword_of_a_method_is_known_in_humble():
    """A method is looked up by name: some Humble class must take all the keywords."""
    takes: dict[str, list[set[str]]] = {}
    for name in CLASSES:
        for method, parameters in members(name).items():
            if parameters is not None:
                takes.setdefault(method, []).append(set(parameters))
    for function, parameters in FACTS['functions'].items():
        takes.setdefault(function.rpartition('.')[2], []).append(set(parameters))
    wrong = []
    for path, tree in trees():
        local = {alias for _, module, _, alias in imports(tree) if module.startswith('rclpy')}
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            given = {keyword.arg for keyword in call.keywords if keyword.arg}
            if isinstance(call.func, ast.Attribute):
                name, choices = call.func.attr, takes.get(call.func.attr, [])
            elif isinstance(call.func, ast.Name) and call.func.id in local & set(CLASSES):
                name, choices = call.func.id, [set(members(call.func.id)['__init__'] or ())]
            else:
                continue
            if not given or not choices or name in ALL_OWN:
                continue
            if not any('**' in choice or given <= choice for choice in choices):
                wrong.append(f'{where(path, call)} {name}({", ".join(sorted(given))})')
    assert not wrong


def test_the_options_of_the_node_are_those_of_humble():
    allowed = set(members('Node')['__init__'] or ())
    for path, tree in trees():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr == '__init__':
                given = {keyword.arg for keyword in call.keywords if keyword.arg}
                assert given <= allowed | {'enable_communication_interface'}, where(path, call)


def test_no_private_attribute_of_rclpy_is_overwritten_by_a_node_of_ours():
    private = set(FACTS['private'])
    wrong = []
    for path, tree in trees():
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            if not any(base.endswith('Node') for base in bases):
                continue
            stored = {
                item.attr: item
                for item in ast.walk(node)
                if isinstance(item, ast.Attribute)
                and isinstance(item.ctx, ast.Store)
                and root_name(item) == 'self'
            }
            methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
            wrong += [
                f'{where(path, item)} {name}'
                for name, item in (stored | methods).items()
                if name in private
            ]
    assert not wrong
