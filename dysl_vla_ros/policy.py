"""One observation in, one chunk of normalised actions out: the engine with its contract.

``predict`` runs the layers that a plan asks for; ``rerun`` runs the same observation in full,
from the state that the first jump left behind: no second encoding, the same bits as from the
start. Actions are returned as the model gives them; whether they are finite is checked by the
control loop, which latches an e-stop if not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import InstructionSpec, Manifest
from dysl_vla_ros.bundle.word_list import WordList, word_list
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.core import transforms
from dysl_vla_ros.data_types import FloatArray, LayerTrace, Observation, PassMode, SkipPlan
from dysl_vla_ros.engines.check import blank_inputs
from dysl_vla_ros.engines.engine import Engine, Hidden, Prepares, forward, prepare_for
from dysl_vla_ros.engines.image_tensor import image_to_tensor, values_to_tensor
from dysl_vla_ros.engines.open_engine import open_engine
from dysl_vla_ros.errors import BundleError, EngineError, InputError

MAX_INSTRUCTION_BYTES = 4096
CHANGED_BEYOND = 0.05
"""A re-run counts as having changed the chunk when some normalised action moved by more."""

_WORDS_SHOWN, _SHORT = 16, 2
_TOLD = 1000
_log = logging.getLogger(__name__)

Inputs = Mapping[str, NDArray[Any]]


class Encoding(Protocol):
    """Tokens of one text."""

    @property
    def ids(self) -> list[int]:
        """Token ids."""


class Tokenizer(Protocol):
    """What is used of ``tokenizers.Tokenizer``."""

    def encode(self, text: str) -> Encoding:
        """Text to tokens."""


@dataclass(frozen=True)
class Pass:
    """What one run of the model gave.

    Attributes:
        stamp: Of its observation [s].
        instruction: Of its observation.
        normalised: Actions as the model emits them, shape (horizon, action_dim).
        mode: ``full``; ``skipped`` when a jump was taken; ``rerun``.
        trace: Layers run, and the state from which a re-run resumes.
        stage_seconds: Seconds by stage: preprocess, encode, backbone, decode; a re-run has only
            the last two.
        changed: Whether it differs noticeably from the skipped pass on the same observation.
        compared: In ``compare`` mode, that skipped pass.
    """

    stamp: float
    instruction: str
    normalised: FloatArray
    mode: PassMode
    trace: LayerTrace
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    changed: bool = False
    compared: Pass | None = None


class Policy:
    """A bundle on an engine; serves one thread, keeps no state between passes that they show."""

    def __init__(
        self,
        engine: Engine,
        manifest: Manifest,
        tokenizer: Tokenizer,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Join the parts.

        Args:
            engine: Opened on the manifest's bundle.
            manifest: The contract.
            tokenizer: Of the same bundle.
            clock: Seconds; only measures how long the stages take.
        """
        self.engine = engine
        self.manifest = manifest
        self._tokenizer = tokenizer
        self._clock = clock
        self._learnt = ''
        self._told: set[str] = set()

    @property
    def learns(self) -> bool:
        """Whether ``learn`` does anything."""
        return isinstance(self.engine, Prepares)

    def learn(self, instruction: str) -> None:
        """Let the engine do beforehand what passes of an instruction need once, if it does.

        May take seconds, where the engine never saw so many words; a pass that nobody prepared
        for does it first.

        Raises:
            InputError: As ``tokens``.
            EngineError: The back end failed.
        """
        if instruction == self._learnt or not self.learns:
            return
        inputs = {**blank_inputs(self.manifest), 'tokens': self.tokens(instruction)}
        prepare_for(self.engine, inputs)
        self._learnt = instruction

    def prepare(self, observation: Observation) -> dict[str, NDArray[Any]]:
        """The model's inputs: images, ``tokens`` and ``proprioception``.

        Raises:
            InputError: A camera is missing or has the wrong size, a joint is not finite, the
                instruction is empty or too long; names field, value and what would be right.
        """
        inputs: dict[str, NDArray[Any]] = {}
        for camera in self.manifest.cameras:
            if camera.name in observation.seen:
                values = observation.seen[camera.name]
                inputs[camera.name] = values_to_tensor(values, camera)
                continue
            if camera.name not in observation.images:
                raise InputError(
                    f'images = {sorted(observation.images)}: expected {camera.name!r} too'
                )
            inputs[camera.name] = image_to_tensor(observation.images[camera.name], camera)
        inputs['tokens'] = self.tokens(observation.instruction)
        if self.manifest.proprioception.dim:
            inputs['proprioception'] = proprioception_input(self.manifest, observation)
        return inputs

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """Tokens of an instruction, padded, shape (1, tokens).

        Raises:
            InputError: It is empty, too long, has more tokens than the model takes, or no word
                that the model knows.
        """
        return instruction_tokens(self.manifest.instruction, self._tokenizer, instruction)

    def unknown_words(self, instruction: str) -> tuple[str, ...]:
        """Words of an instruction that the model does not know, where it has a list of them."""
        return unknown_words(self._tokenizer, instruction)

    def readable(self, instruction: str) -> str:
        """An instruction, or, where the model knows no word of it, a word that it knows.

        For observations that are made up: blank ones, and those that only measure.
        """
        try:
            self.tokens(instruction)
        except InputError:
            listed = self._tokenizer.words if isinstance(self._tokenizer, WordList) else ()
            return listed[0] if listed else instruction
        return instruction

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Encode an observation and run the layers that the plan does not skip.

        Raises:
            InputError: The observation does not fit.
            EngineError: The back end failed, or the plan does not fit the layers.
        """
        hidden, stages = self._encode(observation)
        return self._finish(observation, hidden, plan, stages)

    def compare(self, observation: Observation, plan: SkipPlan) -> Pass:
        """One encoding, two passes: the full one, which holds the skipped one as ``compared``."""
        hidden, stages = self._encode(observation)
        entering = self.engine.keep(hidden)
        skipped = self._finish(observation, hidden, plan, stages)
        return self._finish(
            observation,
            self.engine.restore(entering),
            self.engine.layout.full_plan(),
            stages,
            skipped,
        )

    def rerun(self, first: Pass) -> Pass:
        """The full pass on the observation of ``first``, resumed at its first jump.

        Raises:
            EngineError: ``first`` skipped nothing, or the back end failed.
        """
        trace = first.trace
        if trace.resume_layer is None:
            raise EngineError(f'a {first.mode} pass without a jump: expected a skipped pass')
        begun = self._clock()
        hidden, again = forward(
            self.engine,
            self.engine.restore(trace.resume_state),
            self.engine.layout.full_plan(),
            start_layer=trace.resume_layer,
        )
        self.engine.synchronize()
        run = self._clock()
        actions = self._decode(hidden)
        return Pass(
            stamp=first.stamp,
            instruction=first.instruction,
            normalised=actions,
            mode='rerun',
            trace=again,
            stage_seconds={'backbone': run - begun, 'decode': self._clock() - run},
            changed=_differ(actions, first.normalised),
        )

    def warm_up(self, runs: int) -> None:
        """Run a blank observation, ``runs`` times in full and once through every adapter.

        Raises:
            EngineError: The back end fails, or the model's answer is not finite.
        """
        layout = self.engine.layout
        blank = blank_inputs(self.manifest)
        plans = [layout.full_plan()] * runs
        for plan in plans + (_adapter_plans(layout.segments) if runs else []):
            hidden, _ = forward(self.engine, self.engine.encode(blank), plan)
            actions = self._decode(hidden)
            if not np.isfinite(actions).all():
                raise EngineError(
                    f'bundle {self.manifest.name}: a blank observation gives actions that are '
                    'not finite; the weights are broken: export it again'
                )

    def _encode(self, observation: Observation) -> tuple[Hidden, dict[str, float]]:
        self.learn(observation.instruction)
        begun = self._clock()
        inputs = self.prepare(observation)
        self._tell_unknown(observation.instruction)
        prepared = self._clock()
        hidden = self.engine.encode(inputs)
        self.engine.synchronize()
        return hidden, {'preprocess': prepared - begun, 'encode': self._clock() - prepared}

    def _tell_unknown(self, instruction: str) -> None:
        """Once per instruction: which of its words the model does not know."""
        if instruction in self._told or len(self._told) >= _TOLD:
            return
        self._told.add(instruction)
        if unknown := self.unknown_words(instruction):
            _log.warning('%s', told_unknown(instruction, unknown))

    def _finish(
        self,
        observation: Observation,
        hidden: Hidden,
        plan: SkipPlan,
        stages: Mapping[str, float],
        compared: Pass | None = None,
    ) -> Pass:
        begun = self._clock()
        hidden, trace = forward(self.engine, hidden, plan)
        self.engine.synchronize()
        run = self._clock()
        actions = self._decode(hidden)
        return Pass(
            stamp=observation.stamp,
            instruction=observation.instruction,
            normalised=actions,
            mode='skipped' if trace.jumps else 'full',
            trace=trace,
            stage_seconds={**stages, 'backbone': run - begun, 'decode': self._clock() - run},
            changed=compared is not None and _differ(actions, compared.normalised),
            compared=compared,
        )

    def _decode(self, hidden: Hidden) -> FloatArray:
        actions = self.engine.decode(hidden)
        wanted = (self.manifest.action.horizon, self.manifest.action.dim)
        if actions.shape != wanted:
            raise EngineError(f'actions of shape {actions.shape}: expected {wanted}')
        return actions


def proprioception_input(manifest: Manifest, observation: Observation) -> NDArray[np.float32]:
    """What the model reads of the arm, normalised, shape (1, proprioception.dim).

    Raises:
        InputError: A joint or the opening is missing or not finite.
    """
    spec = manifest.proprioception
    joints = np.asarray(observation.joints, dtype=np.float64)
    size = spec.body
    if joints.shape != (size,):
        raise InputError(f'joints of shape {joints.shape}: expected ({size},)')
    values = [*joints]
    if spec.gripper:
        if observation.gripper is None:
            raise InputError('gripper = None: expected its measured opening, 0 to 1')
        opening = observation.gripper
        # Not only the opening: some models read where each finger is.
        values += [a + (b - a) * opening for a, b in spec.fingers or ((0.0, 1.0),)]
    known = manifest.action.joint_names
    names = [*(known if len(known) == size else range(size)), *['gripper'] * (spec.dim - size)]
    for name, value in zip(names, values, strict=False):
        if not np.isfinite(value):
            raise InputError(f'joints: {name} = {value}: expected a finite number')
    scale = spec.normalisation
    normalised = transforms.normalise(values, scale.low, scale.high, scale.mask)
    if spec.clip:
        normalised = np.clip(normalised, -1.0, 1.0)
    return normalised[None].astype(np.float32)


def instruction_tokens(
    spec: InstructionSpec, tokenizer: Tokenizer, instruction: str
) -> NDArray[np.int64]:
    """Tokens of an instruction, padded, shape (1, tokens).

    Raises:
        InputError: It is empty, too long, has more tokens than the model takes, or no word that
            the model knows.
    """
    if len(instruction) > MAX_INSTRUCTION_BYTES:  # a character is at least a byte
        raise InputError(
            f'instruction = {instruction[:20]!r}...: {len(instruction)} bytes or more, '
            f'expected at most {MAX_INSTRUCTION_BYTES}'
        )
    text = instruction.strip()
    try:
        size = len(text.encode('utf-8'))
    except UnicodeEncodeError as error:
        raise InputError(f'instruction = {text[:20]!r}: {error}: expected UTF-8') from None
    if not text:
        raise InputError(f'instruction = {instruction!r}: expected a sentence, "pick the ..."')
    if size > MAX_INSTRUCTION_BYTES:
        raise InputError(
            f'instruction = {text[:20]!r}...: {size} bytes, expected at most '
            f'{MAX_INSTRUCTION_BYTES}'
        )
    if spec.lowercase:
        text = text.lower()
    ids = _ids(tokenizer, spec.template.replace('{instruction}', text), text)
    if spec.end_id is not None and ids[-1:] != [spec.end_id]:
        ids.append(spec.end_id)
    if not 0 < len(ids) <= spec.tokens:
        raise InputError(
            f'instruction = {text[:60]!r}: {len(ids)} tokens, expected 1 to {spec.tokens}; '
            'say it in fewer words'
        )
    _check_words(tokenizer, instruction.strip())
    padded = np.full((1, spec.tokens), spec.pad_id, dtype=np.int64)
    padded[0, : len(ids)] = ids
    return padded


def _check_words(tokenizer: Tokenizer, text: str) -> None:
    """A model sees all unknown words alike: of these alone it would do whatever it likes."""
    if not isinstance(tokenizer, WordList) or not tokenizer.words:
        return
    known, unknown = tokenizer.of_text(text)
    if known or not unknown:
        return
    words = [word for word in tokenizer.words if len(word) > _SHORT] or list(tokenizer.words)
    raise InputError(
        f'instruction = {text[:60]!r}: the model knows none of these words: expected some of '
        f'{", ".join(words[:_WORDS_SHOWN])}{"..." if words[_WORDS_SHOWN:] else ""}'
    )


def unknown_words(tokenizer: Tokenizer, instruction: str) -> tuple[str, ...]:
    """Words of an instruction that are not in a tokenizer's list; () where it has none."""
    if not isinstance(tokenizer, WordList) or not tokenizer.words:
        return ()
    return tuple(tokenizer.of_text(instruction[:MAX_INSTRUCTION_BYTES])[1])


def told_unknown(instruction: str, unknown: Sequence[str]) -> str:
    """A line for whoever gave an instruction with such words."""
    return (f'instruction {instruction.strip()[:60]!r}: the model does not know '
            f'{", ".join(unknown[:_WORDS_SHOWN])}')  # fmt: skip


def _ids(tokenizer: Tokenizer, prompt: str, text: str) -> list[int]:
    try:
        return list(tokenizer.encode(prompt).ids)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's panics are no Exception
        raise InputError(
            f'instruction = {text[:60]!r}: the tokenizer cannot read it ({error}): '
            'say it in other words'
        ) from error


def open_policy(
    config: EngineConfig | None = None, clock: Callable[[], float] = time.perf_counter
) -> Policy:
    """Open and warm up the policy that the parameters name.

    Raises:
        BundleError: No bundle there, or one that is altered.
        EngineError: The back end is not available, or cannot run the bundle.
    """
    return open_with_tokenizer(config, clock)[0]


def open_with_tokenizer(
    config: EngineConfig | None = None, clock: Callable[[], float] = time.perf_counter
) -> tuple[Policy, str]:
    """As ``open_policy``, with the tokenizer's JSON, from which others can make theirs."""
    config = config or EngineConfig()
    opened = open_engine(config.path, config.backend, config.threads, config.plans)
    tokenizer = load_tokenizer(opened.manifest, opened.tokenizer)
    policy = Policy(opened.engine, opened.manifest, tokenizer, clock)
    policy.warm_up(config.warmup_runs)
    return policy, opened.tokenizer


def load_tokenizer(manifest: Manifest, text: str) -> Tokenizer:
    """The tokenizer of a bundle, from its JSON; a list of words needs no library.

    Raises:
        BundleError: The library does not take it, or is needed and not installed.
    """
    words = word_list(text)
    if words is not None:
        return words
    try:
        from tokenizers import Tokenizer as LibraryTokenizer
    except ImportError:
        raise BundleError(
            f'{manifest.instruction.tokenizer}: more than a list of words: expected the '
            "tokenizers library (python3 -m pip install 'tokenizers>=0.15,<1')"
        ) from None

    try:
        library = LibraryTokenizer.from_str(text)
        library.no_truncation()  # the contract's own length is checked, with an error
        library.no_padding()
        tokenizer: Tokenizer = library
    except Exception as error:  # the library raises plain Exception
        raise BundleError(
            f'{manifest.instruction.tokenizer}: {error}; expected a file of the tokenizers library'
        ) from error
    return tokenizer


def _adapter_plans(segments: tuple[tuple[int, int], ...]) -> list[SkipPlan]:
    """Plans that together jump from every dynamic layer once."""
    longest = max((end - first for first, end in segments), default=0)
    return [
        SkipPlan(tuple(min(first + step, end) for first, end in segments), controllers='open')
        for step in range(longest)
    ]


def _differ(one: FloatArray, other: FloatArray) -> bool:
    return not float(np.max(np.abs(one - other))) <= CHANGED_BEYOND
