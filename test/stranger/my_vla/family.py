"""What dysl_vla_ros needs to know of it: how its folders look, its contract, its parts."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from dysl_vla_ros.bundle.manifest import (
    ActionSpec,
    CalibrationSpec,
    CameraSpec,
    InstructionSpec,
    NormalisationSpec,
    ProprioceptionSpec,
)
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.data.lerobot_frames import read_pictures, read_rows
from dysl_vla_ros.lab.export.parts import TOKENIZER, Contract, GatedLayer, Part
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.skipping_file import Skipping
from dysl_vla_ros.policy import instruction_tokens

from .network import ACTIONS, HORIZON, JOINTS, SIZE, TOKENS, WORDS, Network

PROMPT = InstructionSpec(tokenizer=TOKENIZER, tokens=WORDS)


class MyFamily:
    """The object that the entry point names."""

    def recognises(self, folder, config):
        return config.get('model_type') == 'my_vla'

    def open(self, folder, options):
        wanted = ('config.json', 'model.safetensors', TOKENIZER)
        if missing := [name for name in wanted if not (folder / name).is_file()]:
            raise BundleError(f'{folder}: no {", ".join(missing)}: expected {", ".join(wanted)}')
        if 'period' not in options:
            raise ConfigError('option', dict(options), 'period=SECONDS, of one action')
        return MyPublished(folder, float(options['period']))


class MyPublished:
    """An opened folder."""

    def __init__(self, folder: Path, period_s: float) -> None:
        import json

        config = json.loads((folder / 'config.json').read_text('utf-8'))
        self.layers, self.width, self.period_s = config['layers'], config['width'], period_s
        self.folder, self.tokenizer = folder, (folder / TOKENIZER).read_text('utf-8')

    @property
    def facts(self):
        return {'width': self.width, 'action period [s]': self.period_s}

    def network(self):
        network = Network(self.layers, self.width)
        network.load_state_dict(load_file(self.folder / 'model.safetensors'))
        return network.eval().requires_grad_(False)

    def modules(self, layout, rank):
        return SkipModules(layout, self.width, rank)

    def export(self, skipping):
        if skipping is None:  # dense: every layer is static
            layout = LayerLayout(self.layers, tuple(range(self.layers)))
            skipping = Skipping(self.modules(layout, 0))
        return MyParts(self, skipping)

    def dense(self, device):
        return MyDense(self.network().to(device), device)

    def batches(self, data, size, seed):
        if 'front' not in data.cameras:
            raise ConfigError(str(data.folder), sorted(data.cameras), 'a picture named front')
        random, found = np.random.default_rng(seed), []
        known = {
            text: instruction_tokens(PROMPT, Tokenizer.from_str(self.tokenizer), text)
            for text in data.tasks.values()
        }
        for rows in read_rows(data, ['observation.state']):
            pictures = read_pictures(
                data, rows, data.picture('front'), list(range(rows.episode.length))
            )
            for number, picture in enumerate(pictures):
                step = picture.shape[0] // SIZE
                image = picture[::step, ::step][:SIZE, :SIZE].transpose(2, 0, 1) / 127.5 - 1
                found.append(
                    (
                        image,
                        known[rows.instruction[number]][0],
                        rows.numbers['observation.state'][number, :JOINTS],
                    )
                )
        while True:
            chosen = [found[i] for i in random.integers(len(found), size=size)]
            images, tokens, joints = (np.stack(part) for part in zip(*chosen, strict=True))
            yield (
                torch.tensor(images, dtype=torch.float32),
                torch.tensor(tokens),
                torch.tensor(joints, dtype=torch.float32),
            )


class MyDense:
    """The frozen model, for calibrate and distill."""

    def __init__(self, network, device):
        self.network, self.device = network, device
        self.layers_total, self.slots = len(network.layers), slice(-HORIZON, None)

    def encode(self, batch):
        image, tokens, joints = (part.to(self.device) for part in batch)
        return self.network.embed(self.network.vision(image), tokens, joints)

    def layer(self, index, hidden):
        return self.network.layers[index](hidden)

    def head(self, hidden):
        return self.network.head(hidden)


class MyParts:
    """The model, taken apart for export."""

    def __init__(self, published, skipping):
        self.published, self.skipping = published, skipping
        self.network = published.network()

    @property
    def layout(self):
        return self.skipping.modules.layout

    @property
    def fingerprint(self):
        digest = hashlib.sha256()
        for module in (self.network, self.skipping.modules):
            for name, tensor in module.state_dict().items():
                digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    def part(self, name):
        width = self.published.width
        hidden = torch.zeros(1, TOKENS, width)
        if name == 'vision':
            return Part(
                self.network.vision, (torch.zeros(1, 3, SIZE, SIZE),), ('front',), ('patches',)
            )
        if name == 'embed':
            return Part(
                self.network.embed,
                (
                    torch.zeros(1, 4, width),
                    torch.zeros(1, WORDS, dtype=torch.int64),
                    torch.zeros(1, JOINTS),
                ),
                ('patches', 'tokens', 'proprioception'),
                ('hidden',),
            )
        if name == 'head':
            return Part(self.network.head, (hidden,), ('hidden',), ('actions',))
        kind, _, number = name.partition('_')
        modules, index = self.skipping.modules, int(number)
        if kind == 'bridge':
            return Part(
                copy.deepcopy(modules.adapter(index)), (hidden,), ('hidden',), ('hidden_out',)
            )
        layer = self.network.layers[index]
        if index + 1 not in self.layout.dynamic_layers:
            return Part(layer, (hidden,), ('hidden',), ('hidden_out',))
        gated = GatedLayer(layer, copy.deepcopy(modules.controller(index + 1)))
        return Part(gated, (hidden,), ('hidden',), ('hidden_out', 'gate'))

    def contract(self):
        joints = NormalisationSpec((-3.0,) * JOINTS, (3.0,) * JOINTS, (True,) * JOINTS)
        steps = NormalisationSpec((-0.02,) * ACTIONS, (0.02,) * ACTIONS, (True,) * ACTIONS)
        return Contract(
            family='my_vla',
            hidden_tokens=TOKENS,
            hidden_width=self.published.width,
            cameras=(CameraSpec('front', SIZE, SIZE),),
            proprioception=ProprioceptionSpec(JOINTS, False, joints),
            instruction=PROMPT,
            action=ActionSpec(
                'joint_delta',
                ACTIONS,
                HORIZON,
                self.published.period_s,
                False,
                'commanded',
                steps,
                steps,
                frame_id='',
                tip_link='',
            ),
            calibration=self.skipping.calibration
            or CalibrationSpec(0.1, 5, 0.3, 0.15, (1.0,) * ACTIONS, 'level'),
            tokenizer=self.published.tokenizer,
            card=self.skipping.card,
        )
