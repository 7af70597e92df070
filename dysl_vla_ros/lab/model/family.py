"""Which family a published folder belongs to, or why its layers cannot be skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.tensor_files import listing

Family = Literal['openvla', 'openvla_oft']
FAMILIES: tuple[Family, ...] = ('openvla', 'openvla_oft')

_EVERY_LAYER = (
    'its action expert reads the keys and values of every layer of the language model. A layer '
    'that is skipped has none, and an adapter, which leads from one state to a later one, does '
    'not make them. Layers that the expert reads cannot be skipped, and it reads all'
)
_REFUSED: dict[str, str] = {
    'pi0': _EVERY_LAYER,
    'pi05': _EVERY_LAYER,
    'smolvla': _EVERY_LAYER,
    'pi0_fast': 'it writes an action of unknown length, token by token; only OpenVLA, whose '
    'actions have seven tokens, is supported',
    'roboflamingo': 'model.flamingo has its layers and its head, but nothing reads its '
    'checkpoints yet; doc/add_a_model.md says what a reader must supply',
}
_ALIASES = {
    'pi0fast': 'pi0_fast', 'pi0.5': 'pi05', 'paligemma_with_expert': 'pi0', 'smol_vla': 'smolvla',
    'flamingo': 'roboflamingo',
}  # fmt: skip


def detect_family(folder: Path) -> Family:
    """The family of a published folder, from its ``config.json`` and the files beside it.

    Raises:
        BundleError: No such folder or configuration, an unknown family, or one whose layers
            cannot be skipped, with the reason.
    """
    config = read_config(folder)
    # Hugging Face writes model_type, LeRobot writes type.
    found = str(config.get('model_type') or config.get('type') or '').lower()
    name = _ALIASES.get(found, found)
    if name in _REFUSED:
        raise BundleError(f'{folder}: {name} is not supported: {_REFUSED[name]}')
    if name != 'openvla':
        raise BundleError(
            f'{folder}/config.json: model_type = {found!r}: expected one of {FAMILIES}; '
            'doc/add_a_model.md says how a family is added'
        )
    if any(folder.glob('noisy_action_projector--*_checkpoint.pt')):
        raise BundleError(
            f'{folder}: the diffusion head of OpenVLA-OFT is not supported: it runs the whole '
            'model once per denoising step; fine-tune with use_l1_regression'
        )
    if any(folder.glob('vision_backbone--*_checkpoint.pt')):
        raise BundleError(
            f'{folder}: vision towers with FiLM are not supported: the instruction enters every '
            'block of them; fine-tune with use_film = False'
        )
    return 'openvla_oft' if any(folder.glob('action_head--*_checkpoint.pt')) else 'openvla'


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a folder.

    Raises:
        BundleError: Missing, or not a JSON object.
    """
    return read_json(folder / 'config.json')


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BundleError: Missing, or something else.
    """
    if not path.is_file():
        raise BundleError(f'{path}: no such file; {listing(path.parent)}')
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise BundleError(f'{path}: {error}; expected JSON') from error
    if not isinstance(document, dict):
        raise BundleError(f'{path}: {type(document).__name__}: expected a JSON object')
    return document
