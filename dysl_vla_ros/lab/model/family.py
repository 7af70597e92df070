"""Which family a published folder belongs to, or why its layers cannot be skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from dysl_vla_ros.bundle.git_lfs import refuse_pointer
from dysl_vla_ros.bundle.strict_json import LARGEST_PUBLISHED, load
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.tensor_files import listing, parts_of

Family = Literal['openvla', 'openvla_oft']
FAMILIES: tuple[Family, ...] = ('openvla', 'openvla_oft')

_EVERY_LAYER = (
    'its action expert reads the keys and values of every layer of the language model, so a layer '
    'can only be skipped together with the layer of the expert that reads it. That is planned '
    '(one decision on the prefix, an adapter on either side), and not written yet; see '
    'doc/models/pi0.md'
)
_MEMORY = (
    'its layers run in torch (lab.model.flamingo), but nothing reads its checkpoints yet '
    '(perceiver and the gated layers are to be read), and its head has a memory, which a graph '
    'that is exported must pass on as a second state. Both are planned; see '
    'doc/models/roboflamingo.md'
)
_REFUSED: dict[str, str] = {
    'pi0': _EVERY_LAYER,
    'pi05': _EVERY_LAYER,
    'smolvla': _EVERY_LAYER,
    'pi0_fast': 'it writes an action of unknown length, token by token, so that a pass has no '
    'one depth. Nothing is planned for it; see doc/models/pi0.md',
    'roboflamingo': _MEMORY,
    'deer': f'{_MEMORY}. Its exits are a mode of dysl evaluate (deer) for any bundle already',
}
_ADAPTER = ('adapter_config.json', 'adapter_model.safetensors', 'adapter_model.bin')
_ALIASES = {
    'pi0fast': 'pi0_fast', 'pi0.5': 'pi05', 'paligemma_with_expert': 'pi0', 'smol_vla': 'smolvla',
    'flamingo': 'roboflamingo', 'deer_vla': 'deer', 'pi0-fast': 'pi0_fast',
}  # fmt: skip


def detect_family(folder: Path) -> Family:
    """The family of a published folder, from its ``config.json`` and the files beside it.

    Raises:
        BundleError: No such folder or configuration, an unknown family, or one whose layers
            cannot be skipped, with the reason.
    """
    if not folder.is_dir():
        raise BundleError(f'{folder}: no such folder; {listing(folder)}')
    _refuse_adapter_alone(folder)
    if name := _without_configuration(folder):
        raise BundleError(f'{folder}: {name} is not supported: {_REFUSED[name]}')
    config = read_config(folder)
    # Hugging Face writes model_type, LeRobot writes type.
    found = str(config.get('model_type') or config.get('type') or '').lower()
    name = _ALIASES.get(found, found)
    if name in _REFUSED:
        raise BundleError(f'{folder}: {name} is not supported: {_REFUSED[name]}')
    if name != 'openvla':
        raise BundleError(
            f'{folder}/config.json: model_type = {found!r}: expected one of {FAMILIES}; '
            'doc/add_a_model.md says how a package of yours adds one, under the entry point '
            'dysl_vla_ros.families'
        )
    if parts_of(folder, 'noisy_action_projector'):
        raise BundleError(
            f'{folder}: the diffusion head of OpenVLA-OFT is not supported: it runs the whole '
            'model once per denoising step; fine-tune with use_l1_regression'
        )
    if parts_of(folder, 'action_head'):
        return 'openvla_oft'
    if parts_of(folder, 'proprio_projector'):
        raise BundleError(
            f'{folder}: OpenVLA-OFT with discrete tokens is not supported (a proprioception '
            'projector, and no action_head--*_checkpoint.pt): expected OpenVLA-OFT with its L1 '
            'head; its actions are words; fine-tune with use_l1_regression, or copy the head'
        )
    return 'openvla'


def _without_configuration(folder: Path) -> str:
    """Families whose official code writes no ``config.json``, by what it does write."""
    if (folder / 'config.json').exists():
        return ''
    if (folder / 'params').is_dir():  # openpi, in JAX's layout
        return 'pi0'
    saved = [path.name.lower() for path in folder.glob('*checkpoint_gripper*.pth')]
    if not saved:
        return ''
    # DeeR says at how many layers its exits stand.
    return 'deer' if any('deer' in name or '_length_' in name or 'exit' in name
                         for name in saved) else 'roboflamingo'  # fmt: skip


def expect_oft(folder: Path) -> None:
    """Refuse what cannot be exported.

    Raises:
        BundleError: Another family than OpenVLA-OFT with its L1 head, with the reason.
    """
    family = detect_family(folder)
    if family != 'openvla_oft':
        raise BundleError(
            f'{folder}: no action_head--*_checkpoint.pt: expected OpenVLA-OFT with its L1 head. '
            f'This is {family}, or OpenVLA-OFT fine-tuned with discrete tokens: it writes words, '
            'seven tokens per action. OpenVLA is not exported: dysl serve runs it in torch; or '
            f'fine-tune with use_l1_regression; {listing(folder)}'
        )


def _refuse_adapter_alone(folder: Path) -> None:
    """LoRA matrices without the model that they change."""
    weights = ('model*.safetensors', 'pytorch_model*.bin', '*.safetensors.index.json')
    if any(path.name not in _ADAPTER for form in weights for path in folder.glob(form)):
        return
    found = [name for part in ('', 'lora_adapter/') for name in _ADAPTER
             if (folder / part / name).is_file()]  # fmt: skip
    if found:
        raise BundleError(
            f'{folder}: only a LoRA adapter ({", ".join(found)}) and no weights of the model: '
            'merge it into its base model first (upstream: '
            'vla-scripts/merge_lora_weights_and_save.py)'
        )


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a folder.

    Raises:
        BundleError: Missing, or not a JSON object.
    """
    return read_json(folder / 'config.json')


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BundleError: Missing, something else, or with a key that stands twice.
    """
    if not path.is_file():
        raise BundleError(f'{path}: no such file; {listing(path.parent)}')
    refuse_pointer(path)
    document = load(path, LARGEST_PUBLISHED)
    if not isinstance(document, dict):
        raise BundleError(f'{path}: {type(document).__name__}: expected a JSON object')
    return document
