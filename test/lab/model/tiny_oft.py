"""A tiny OpenVLA-OFT checkpoint in the published folder layout, made by the upstream libraries.

For other tests::

    from tiny_oft import write_tiny_oft

    write_tiny_oft(folder, layers=6)  # -> None; needs torch, transformers and timm

``folder`` then holds what a published OpenVLA-OFT folder holds: ``config.json``,
``model-0000x-of-0000y.safetensors`` with ``model.safetensors.index.json`` (or one ``.bin`` per
shard), ``preprocessor_config.json``, ``tokenizer.json``, ``dataset_statistics.json``,
``action_head--1000_checkpoint.pt`` and ``proprio_projector--1000_checkpoint.pt``, the last two
with the ``module.`` prefix of distributed training. Two cameras of 28x28 pixels, 8 actions of 7
numbers, 8 numbers of proprioception, statistics under ``UNNORM_KEY``; open it with
``dysl_vla_ros.lab.model.openvla_oft_loader.open_oft(folder)``.

``UpstreamOft`` is the same network in stock Llama (transformers) and stock vision transformers
(timm): the independent forward that the loader's tests compare with.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

UNNORM_KEY = 'libero_spatial_no_noops'
BOS, END, EMPTY, PAD = 1, 2, 29871, 32000
VOCABULARY = 32064
WORDS = (
    'In', ':', 'What', 'action', 'should', 'the', 'robot', 'take', 'to', '?', 'Out', 'pick', 'up',
    'red', 'cube', 'and', 'put', 'it', 'into', 'bin', 'a', 'on', 'plate', 'black', 'bowl',
)  # fmt: skip
DINO = 'vit_large_patch14_reg4_dinov2.lvd142m'
SIGLIP = 'vit_so400m_patch14_siglip_224'
MEANS = [[0.484375, 0.455078125, 0.40625], [0.5, 0.5, 0.5]]
STDS = [[0.228515625, 0.2236328125, 0.224609375], [0.5, 0.5, 0.5]]


def make_torchvision_importable():
    """timm and parts of transformers want torchvision, also beside a CPU build of torch.

    The torchvision of a package index is linked against CUDA and its operators cannot be loaded
    there. Only its Python half is used, which insists that the operators have been declared.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library('torchvision', 'DEF')
        for name in ('nms', 'qnms'):
            library.define(f'{name}() -> ()')
        _KEPT.append(library)  # its declarations end with it


_KEPT = []


def import_timm():
    """timm, whichever torchvision there is."""
    make_torchvision_importable()
    import timm

    return timm


ROBOTS = {
    'libero': {},
    'bridge': {'cameras': 1, 'proprio': 7, 'horizon': 5, 'key': 'bridge_orig'},
    'aloha': {'cameras': 3, 'proprio': 14, 'horizon': 25, 'action_dim': 14,
              'key': 'aloha1_put_X_into_pot_300_demos'},
}  # fmt: skip
"""Arguments of ``UpstreamOft`` for the three kinds of folders that upstream publishes."""


class UpstreamOft(nn.Module):
    """The published network, tiny, under its published parameter names."""

    def __init__(
        self,
        layers=6,
        width=64,
        heads=4,
        cameras=2,
        image_size=28,
        proprio=8,
        seed=0,
        horizon=8,
        action_dim=7,
        key=UNNORM_KEY,
        film=False,
    ):
        super().__init__()
        timm = import_timm()
        import transformers

        torch.manual_seed(seed)
        self.cameras, self.image_size = cameras, image_size
        self.horizon, self.action_dim, self.proprio_dim = horizon, action_dim, proprio
        self.key, self.film = key, film
        backbone = nn.Module()
        backbone.featurizer = timm.create_model(
            DINO, pretrained=False, num_classes=0, img_size=image_size, embed_dim=32, depth=3
        )
        backbone.fused_featurizer = timm.create_model(
            SIGLIP, pretrained=False, num_classes=0, img_size=image_size, embed_dim=48, depth=4
        )
        self.vision_backbone = backbone
        # OFT+: a projection of the language per block and tower, for scale and for shift.
        self.films = nn.ModuleList(
            nn.ModuleList(nn.ModuleDict({part: nn.Linear(width, tower.embed_dim)
                                         for part in ('scale', 'shift')}) for _ in tower.blocks)
            for tower in (backbone.featurizer, backbone.fused_featurizer)
        ) if film else None  # fmt: skip
        self.projector = nn.ModuleDict(
            {'fc1': nn.Linear(80, 320), 'fc2': nn.Linear(320, width),
             'fc3': nn.Linear(width, width)}
        )  # fmt: skip
        self.text = transformers.LlamaConfig(
            hidden_size=width, intermediate_size=96, num_hidden_layers=layers,
            num_attention_heads=heads, vocab_size=VOCABULARY, pad_token_id=PAD,
            attn_implementation='eager',
        )  # fmt: skip
        self.language_model = transformers.LlamaForCausalLM(self.text)
        self.proprio_projector = nn.ModuleDict(
            {'fc1': nn.Linear(proprio, width), 'fc2': nn.Linear(width, width)} if proprio else {}
        )
        block = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())
        other = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())
        self.action_head = nn.ModuleDict({
            'layer_norm1': nn.LayerNorm(self.action_dim * width),
            'fc1': nn.Linear(self.action_dim * width, width),
            'mlp_resnet_blocks': nn.ModuleList(
                [nn.ModuleDict({'ffn': block}), nn.ModuleDict({'ffn': other})]
            ),
            'layer_norm2': nn.LayerNorm(width),
            'fc2': nn.Linear(width, self.action_dim),
        })  # fmt: skip
        self.eval()
        for name, tensor in self.named_parameters():
            _fill(name, tensor)

    def _filmed(self, number, tower, pixels, language):
        """Stock blocks, taken apart where the language comes in."""
        x = tower.norm_pre(tower.patch_drop(tower._pos_embed(tower.patch_embed(pixels))))
        for block, film in zip(tower.blocks[:-1], self.films[number], strict=False):
            x = x + block.ls1(block.attn(block.norm1(x)))
            x = x * (1 + film['scale'](language)[:, None]) + film['shift'](language)[:, None]
            x = x + block.ls2(block.mlp(block.norm2(x)))
        return x[:, tower.num_prefix_tokens :]

    def language(self, prompt):
        """Mean over what is no action: BOS, prompt and the end."""
        end = torch.tensor([[END]])
        return self.language_model.model.embed_tokens(torch.cat((prompt, end), 1)).mean(dim=1)

    @torch.no_grad()
    def patches(self, images, prompt=None):
        """Per camera (1, 3, size, size) in [0, 1] -> (1, patches, width)."""
        language = self.language(prompt) if self.film else None
        towers = (self.vision_backbone.featurizer, self.vision_backbone.fused_featurizer)
        seen = []
        for image in images:
            features = []
            for number, (tower, mean, std) in enumerate(zip(towers, MEANS, STDS, strict=True)):
                pixels = (image - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(
                    1, 3, 1, 1
                )
                if self.film:
                    features.append(self._filmed(number, tower, pixels, language))
                    continue
                wanted = {len(tower.blocks) - 2}
                features.append(tower.get_intermediate_layers(pixels, n=wanted)[0])
            seen.append(torch.cat(features, dim=2))
        x = torch.cat(seen, dim=1)
        gelu = nn.functional.gelu
        x = gelu(self.projector['fc1'](x))
        return self.projector['fc3'](gelu(self.projector['fc2'](x)))

    @torch.no_grad()
    def state(self, proprioception):
        if not self.proprio_dim:
            return torch.zeros(1, 0, self.text.hidden_size)
        inner = nn.functional.gelu(self.proprio_projector['fc1'](proprioception))
        return self.proprio_projector['fc2'](inner)[:, None]

    @torch.no_grad()
    def states(self, images, prompt, proprioception, causal=False):
        """Final-norm states (1, n, width) of the unpadded sequence, stock Llama."""
        llama = self.language_model.model
        words = llama.embed_tokens(prompt)
        slots = torch.zeros(1, self.horizon * self.action_dim, words.shape[-1])
        end = llama.embed_tokens(torch.tensor([[END]]))
        seen = self.patches(images, prompt)
        parts = (words[:, :1], seen, self.state(proprioception), words[:, 1:])
        sequence = torch.cat((*parts, slots, end), dim=1)
        size = sequence.shape[1]
        mask = torch.zeros(1, 1, size, size)  # additive: every token sees every token
        if causal:
            mask = mask + torch.full((size, size), float('-inf')).triu(1)
        return llama(inputs_embeds=sequence, attention_mask=mask, use_cache=False)[0]

    @torch.no_grad()
    def actions(self, images, prompt, proprioception, causal=False, offset=0):
        """Normalised actions (1, 8, 7); ``offset`` moves the read-out: a test must then fail."""
        states = self.states(images, prompt, proprioception, causal)
        slots = self.horizon * self.action_dim
        first = states.shape[1] - 1 - slots - 1 + offset
        x = states[:, first : first + slots].reshape(1, self.horizon, -1)
        head = self.action_head
        x = nn.functional.relu(head['fc1'](head['layer_norm1'](x)))
        for block in head['mlp_resnet_blocks']:
            x = x + block['ffn'](x)
        return head['fc2'](head['layer_norm2'](x))


def write_tiny_oft(
    folder, layers=6, weights='safetensors', shards=2, dtype=torch.float32, **shape
):
    """Write a tiny checkpoint in the published layout.

    Args:
        folder: Created.
        layers: Decoder layers.
        weights: ``safetensors`` or ``bin``.
        shards: Weight files; 1 writes no index, as small published models do.
        dtype: Of the weights; published ones are bfloat16.
        shape: Of ``UpstreamOft``: width, heads, cameras, image_size, proprio (8 as on LIBERO, 7
            for six joints and a gripper, 0 for none), seed.
    """
    save_oft(UpstreamOft(layers, **shape), folder, weights, shards, dtype)


def save_openvla(upstream, folder):
    """Write ``upstream`` as plain OpenVLA: no action head; the last words are actions.

    Its output layer is changed so that it does write actions, as a trained one would.
    """
    with torch.no_grad():
        upstream.language_model.lm_head.weight[: VOCABULARY - 64 - 255] = 0
        upstream.language_model.lm_head.weight[VOCABULARY - 64 :] = 0
    save_oft(upstream, folder)
    for path in Path(folder).glob('*_checkpoint.pt'):
        path.unlink()


def save_oft(upstream, folder, weights='safetensors', shards=2, dtype=torch.float32):
    """Write ``upstream`` in the published layout; arguments as for ``write_tiny_oft``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name.replace('.gamma', '.scale_factor'): tensor.detach().to(dtype).contiguous()
        for name, tensor in upstream.state_dict().items()
        if not name.startswith(('action_head.', 'proprio_projector.', 'films.'))
    }
    write_weights(folder, tensors, weights, shards)
    if upstream.film:
        save_film(upstream, folder)
    write_json(folder / 'config.json', config_json(upstream))
    write_json(folder / 'dataset_statistics.json', statistics_of(upstream))
    write_json(folder / 'preprocessor_config.json', {
        'image_processor_type': 'PrismaticImageProcessor', 'means': MEANS, 'stds': STDS,
        'input_sizes': [[3, upstream.image_size] + [upstream.image_size]] * 2,
        'image_resize_strategy': 'resize-naive', 'use_fused_vision_backbone': True,
    })  # fmt: skip
    (folder / 'tokenizer.json').write_text(tokenizer_json(), encoding='utf-8')
    for part, prefix in (('action_head', 'module.model.'), ('proprio_projector', 'module.')):
        state = getattr(upstream, part).state_dict()
        if not state:
            continue
        prefixed = {f'{prefix}{name}': tensor.to(dtype) for name, tensor in state.items()}
        torch.save(prefixed, folder / f'{part}--1000_checkpoint.pt')


def save_film(upstream, folder, rank=32, apart=True):
    """The towers of an OFT+ as fine-tuning saves them: FiLM inside, LoRA matrices apart.

    Args:
        upstream: With ``film``.
        folder: Of the published model, whose own towers are those before fine-tuning.
        rank: Of the LoRA matrices.
        apart: False for a model that was fine-tuned without.
    """
    random, saved = torch.Generator().manual_seed(1), {}
    for number, name in enumerate(('featurizer', 'fused_featurizer')):
        tower = getattr(upstream.vision_backbone, name)
        stem = f'module.vision_backbone.{name}.'
        for block, film in enumerate(upstream.films[number]):
            saved |= {f'{stem}blocks.{block}.{part}': tensor
                      for part, tensor in film.state_dict().items()}  # fmt: skip
        for key, tensor in tower.state_dict().items():
            key = key.replace('.gamma', '.scale_factor')
            if key.startswith('blocks.'):
                _, block, rest = key.split('.', 2)
                key = f'blocks.{block}.block.{rest}'
            linear = apart and key.endswith(('qkv.weight', 'proj.weight', 'fc1.weight',
                                             'fc2.weight'))  # fmt: skip
            if not linear:
                name_ = key.replace('.bias', '.base_layer.bias') if apart and key.endswith(
                    ('qkv.bias', 'proj.bias', 'fc1.bias', 'fc2.bias')) else key  # fmt: skip
                saved[stem + name_] = tensor
                continue
            layer = stem + key.removesuffix('.weight')
            # peft goes by names: the convolution that makes patches is called proj, too.
            down = 0.05 * torch.randn(rank, *tensor.shape[1:], generator=random)
            up = 0.05 * torch.randn(len(tensor), rank, *[1] * (tensor.dim() - 2),
                                    generator=random)  # fmt: skip
            product = torch.einsum('or,r...->o...', up.reshape(len(tensor), rank), down)
            saved |= {f'{layer}.base_layer.weight': tensor - min(rank, 16) / rank * product,
                      f'{layer}.lora_A.default.weight': down,
                      f'{layer}.lora_B.default.weight': up}  # fmt: skip
    torch.save({name: tensor.detach().clone() for name, tensor in saved.items()},
               Path(folder) / 'vision_backbone--1000_checkpoint.pt')  # fmt: skip


def write_weights(folder, tensors, weights, shards):
    names = list(tensors)
    stem, ending = ('model', 'safetensors') if weights == 'safetensors' else (
        'pytorch_model', 'bin')  # fmt: skip
    size = -(-len(names) // shards)
    where = {}
    for number in range(shards):
        file = f'{stem}-{number + 1:05d}-of-{shards:05d}.{ending}' if shards > 1 else (
            f'{stem}.{ending}')  # fmt: skip
        part = {name: tensors[name] for name in names[number * size : (number + 1) * size]}
        where |= dict.fromkeys(part, file)
        if weights == 'safetensors':
            save_file(part, folder / file, metadata={'format': 'pt'})
        else:
            torch.save(part, folder / file)
    if shards > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        index = {'metadata': {'total_size': total}, 'weight_map': where}
        write_json(folder / f'{stem}.{ending}.index.json', index)


def config_json(upstream):
    """As published; the text part lists only what differs from stock Llama-2, as there."""
    text = upstream.text
    return {
        'architectures': ['OpenVLAForActionPrediction'], 'model_type': 'openvla',
        'arch_specifier': 'no-align+fused-gelu-mlp',
        'vision_backbone_id': 'dinosiglip-vit-so-224px', 'llm_backbone_id': 'llama2-7b-pure',
        'image_sizes': [upstream.image_size] * 2, 'timm_model_ids': [DINO, SIGLIP],
        'timm_override_act_layers': [None, None], 'use_fused_vision_backbone': True,
        'image_resize_strategy': 'resize-naive', 'n_action_bins': 256, 'pad_token_id': PAD,
        'pad_to_multiple_of': 64, 'torch_dtype': 'bfloat16',
        'norm_stats': statistics_of(upstream),
        'text_config': {
            'model_type': 'llama', 'pad_token_id': PAD, 'vocab_size': VOCABULARY,
            'torch_dtype': 'bfloat16', 'hidden_size': text.hidden_size,
            'intermediate_size': text.intermediate_size,
            'num_hidden_layers': text.num_hidden_layers,
            'num_attention_heads': text.num_attention_heads,
        },
    }  # fmt: skip


def statistics_of(upstream):
    if (upstream.key, upstream.action_dim) == (UNNORM_KEY, 7):
        return statistics_json(upstream.proprio_dim)
    return robot_statistics(upstream.key, upstream.action_dim, upstream.proprio_dim)


def robot_statistics(key, action_dim, proprio):
    """ALOHA: joints, all of them normalised; else increments and a gripper that is not."""
    joints = action_dim == 14

    def numbers(size, reach):
        values = [reach] * size
        return {
            'q01': [-v for v in values], 'q99': values, 'min': [-2 * v for v in values],
            'max': [2 * v for v in values], 'mean': [0.0] * size, 'std': values,
        }  # fmt: skip

    action = numbers(action_dim, 1.0 if joints else 0.02)
    action['mask'] = [True] * action_dim if joints else [True] * 6 + [False]
    return {key: {'action': action, 'proprio': numbers(proprio, 1.0)}}


def statistics_json(proprio):
    """One data set: end-effector increments and a gripper; pose and two fingers."""
    low = [-0.75, -0.66, -0.94, -0.11, -0.17, -0.14, 0.0]
    high = [0.94, 0.82, 0.94, 0.12, 0.17, 0.15, 1.0]
    state = [-0.4, -0.3, 0.0, 0.5, -3.5, -1.8, 0.0, -0.04][:proprio]
    action = {
        'q01': low, 'q99': high, 'min': [2 * v for v in low], 'max': [2 * v for v in high],
        'mean': [0.0] * 7, 'std': [0.3] * 7, 'mask': [True] * 6 + [False],
    }  # fmt: skip
    joints = {
        'q01': state, 'q99': [v + 0.7 for v in state], 'min': [v - 1 for v in state],
        'max': [v + 1 for v in state], 'mean': state, 'std': [0.1] * proprio,
    }  # fmt: skip
    return {
        UNNORM_KEY: {
            'action': action, 'proprio': joints, 'num_transitions': 52970,
            'num_trajectories': 432,
        }
    }  # fmt: skip


def tokenizer_json():
    """Words for tokens, with the special ids of Llama-2 and OpenVLA in their places."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    ids = {'<unk>': 0, '<s>': BOS, '</s>': END, '▁': EMPTY, '<PAD>': PAD}
    ids |= {word: 512 + index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='<s> $A', special_tokens=[('<s>', BOS)]
    )
    return tokenizer.to_str()


def write_json(path, document):
    path.write_text(json.dumps(document, indent=2), encoding='utf-8')


def _fill(name, tensor):
    """Random values large enough that attention, scales and biases all matter."""
    with torch.no_grad():
        if name.endswith('embed_tokens.weight'):
            tensor.normal_(std=0.6)
        elif tensor.dim() > 1 and not name.endswith(('pos_embed', 'cls_token', 'reg_token')):
            tensor.normal_(std=tensor[0].numel() ** -0.5)
        elif tensor.dim() > 1:
            tensor.normal_(std=0.3)
        elif name.endswith('bias'):
            tensor.normal_(std=0.1)
        else:
            tensor.normal_(mean=0.9, std=0.2)
