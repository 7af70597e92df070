"""A policy whose passes, or whose full passes alone, are made by a server; ``Policy``'s calls.

They run where the model runs, in a process of its own: a server that hangs delays no command.
What is true of every other policy stays so: alignment, seams, limits and watchdogs do not know
where a chunk comes from.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.bundle.no_files import COUNTS_WORDS
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.core import transforms
from dysl_vla_ros.data_types import FloatArray, Jump, LayerTrace, Observation, SkipPlan
from dysl_vla_ros.engines.fake.arm import FAKE, is_fake_path, no_model
from dysl_vla_ros.engines.fake.bundle import is_fake
from dysl_vla_ros.engines.open_engine import folder_of
from dysl_vla_ros.engines.remote.contract import (
    Contract,
    contract_of,
    fitting,
    read_contract,
)
from dysl_vla_ros.engines.remote.request import ASK, BLANK, EXIT, request_of, rows_of
from dysl_vla_ros.engines.remote.same_model import SameModel
from dysl_vla_ros.errors import EngineError, LinkError
from dysl_vla_ros.policy import (
    CHANGED_BEYOND,
    Pass,
    Policy,
    Tokenizer,
    instruction_tokens,
    load_tokenizer,
    open_with_tokenizer,
)

if TYPE_CHECKING:
    from dysl_vla_ros.engines.remote.link import Address

_KEPT = 4
_LOG_PERIOD_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_log = logging.getLogger(__name__)


class Reader(Protocol):
    """What checks an instruction."""

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """Its tokens."""


@dataclass(frozen=True)
class _Words:
    """Reads by a tokenizer, as ``Policy`` does."""

    manifest: Manifest
    tokenizer: Tokenizer

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        return instruction_tokens(self.manifest.instruction, self.tokenizer, instruction)


class RemotePolicy:
    """Every pass is made by a server; one thread, as ``Policy``.

    Attributes:
        manifest: What the contract says, as a bundle would.
        engine: What is read of an engine: ``device`` and ``close``.
    """

    def __init__(
        self,
        link: Any,
        contract: Contract,
        manifest: Manifest,
        reader: Reader,
        deadline_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Join the parts.

        Args:
            link: To the server (``engines.remote.link.Link``).
            contract: What it reads and answers.
            manifest: Of the contract, or of the bundle that the server runs.
            reader: Refuses instructions that are empty or too long.
            deadline_s: Of one request [s].
            clock: Seconds; only measures.
        """
        self.manifest = manifest
        self.engine = _Elsewhere(link)
        self._link = link
        self._contract = contract
        self._reader = reader
        self._deadline = deadline_s
        self._clock = clock

    def report(self) -> dict[str, str | float]:
        """Of the link, for diagnostics."""
        found: dict[str, str | float] = self._link.report()
        return found

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As ``Policy.tokens``: an empty or an endless instruction is sent to nobody."""
        return self._reader.tokens(instruction)

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Ask the server; how a guided pass skips is its own affair.

        A fixed exit, every controller live, and a full pass are asked for.

        Raises:
            InputError: The observation does not fit the contract.
            LinkError: No answer in time, none that is of use, or one of another exit.
        """
        return self._ask(observation, plan, self._deadline)

    def compare(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Not to be had.

        Raises:
            EngineError: Always.
        """
        raise EngineError('skip.mode = compare: a policy server makes one pass for one request')

    def rerun(self, first: Pass) -> Pass:
        """Not to be had: what a server skipped it verified itself.

        Raises:
            EngineError: Always.
        """
        raise EngineError(f'a {first.mode} pass of a policy server: expected none to run again')

    def full(self, observation: Observation, deadline_s: float) -> FloatArray:
        """Normalised actions of a full pass, (horizon, dim), beside the server's own episode.

        Raises:
            InputError: The observation does not fit the contract.
            LinkError: No answer in time, or none that is of use.
        """
        request = request_of(observation, self._contract) | {ASK: {'mode': 'full', 'aside': True}}
        return self._normalised(self._link.ask(request, deadline_s))

    def warm_up(self, runs: int, deadline_s: float) -> None:
        """Ask once with blank pictures, so that what does not fit is known before the arm moves.

        Raises:
            LinkError: It is away, or its answer has another shape than the contract says.
        """
        self._link.wait(deadline_s)
        if not runs:
            return
        state = self._contract.state
        blank = Observation(
            stamp=0.0,
            images={
                name: np.zeros((camera.height, camera.width, 3), np.uint8)
                for name, camera in self._contract.cameras.items()
            },
            joints=np.zeros(state.size),
            gripper=0.0 if state.gripper else None,
            instruction=BLANK,
        )
        actions = self.full(blank, deadline_s)
        if not np.isfinite(actions).all():
            raise LinkError('a blank observation gives actions that are not finite')

    def _ask(self, observation: Observation, plan: SkipPlan, deadline_s: float) -> Pass:
        begun = self._clock()
        self.tokens(observation.instruction)
        request = request_of(observation, self._contract) | self._wish(plan)
        prepared = self._clock()
        answer = self._link.ask(request, deadline_s)
        _check_exit(answer, plan, self.manifest)
        return Pass(
            stamp=observation.stamp,
            instruction=observation.instruction,
            normalised=self._normalised(answer),
            mode='skipped' if _said(answer).get('mode') == 'skipped' else 'full',
            trace=_trace(answer, self.manifest),
            stage_seconds={'preprocess': prepared - begun, 'remote': self._clock() - prepared},
        )

    def _wish(self, plan: SkipPlan) -> dict[str, Any]:
        """What a server of ours is told of this robot's motion; nothing where none is known.

        After a hold or a drop this side wants the next pass full, and the server knows of neither.
        """
        layout = self.manifest.layout
        if plan.exit_layer is not None:
            return {ASK: {'mode': 'fixed', EXIT: plan.exit_layer}}
        if layout.dynamic_layers and plan.allow == layout.full_plan().allow:
            return {ASK: {'mode': 'full', 'reset': True}}
        if layout.dynamic_layers and plan.allow == layout.open_plan().allow:
            return {ASK: {'mode': 'max_skip'}}
        return {}

    def _normalised(self, answer: Mapping[str, Any]) -> FloatArray:
        try:
            rows = self._contract.physical(rows_of(answer, self._contract))
        except LinkError as error:
            self._link.drop(str(error))  # the answer may be still to come
            raise
        spec = self.manifest.action.normalisation
        return transforms.normalise(rows, spec.low, spec.high, spec.mask)


class VerifiedPolicy:
    """Passes are made here, and run again in full by a server; here too while that is away.

    Attributes:
        manifest: Of the bundle.
        engine: The one here.
        verified: Full passes that the server made.
        verified_here: Those that were made here, for the server was away or late.
    """

    def __init__(
        self,
        policy: Policy,
        server: RemotePolicy,
        deadline_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Join the two.

        Args:
            policy: Opened and warmed up; runs whatever the server does not.
            server: The same policy, elsewhere.
            deadline_s: After which the full pass is made here [s].
            clock: Seconds.
        """
        self.manifest = policy.manifest
        self.engine = _Both(policy.engine, server.engine)
        self.verified = self.verified_here = 0
        self._policy, self._server = policy, server
        self._deadline = deadline_s
        self._clock = clock
        self._seen: OrderedDict[int, tuple[Pass, Observation]] = OrderedDict()
        self._pause, self._ask_from = 0.0, float('-inf')
        self._logged_at = float('-inf')

    def report(self) -> dict[str, str | float]:
        """Of the link, and who verified."""
        return {
            **self._server.report(),
            'verified': self.verified,
            'verified_here': self.verified_here,
        }

    @property
    def learns(self) -> bool:
        """As ``Policy.learns``."""
        return self._policy.learns

    def learn(self, instruction: str) -> None:
        """As ``Policy.learn``."""
        self._policy.learn(instruction)

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As ``Policy.tokens``."""
        return self._policy.tokens(instruction)

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """As ``Policy.predict``; the observation is kept for its full pass."""
        return self._keep(observation, self._policy.predict(observation, plan))

    def compare(self, observation: Observation, plan: SkipPlan) -> Pass:
        """As ``Policy.compare``."""
        return self._policy.compare(observation, plan)

    def rerun(self, first: Pass) -> Pass:
        """The full pass on the observation of ``first``: the server's, or one made here.

        Raises:
            EngineError: ``first`` skipped nothing, or the back end failed.
        """
        _, observation = self._seen.pop(id(first), (None, None))
        if first.trace.resume_layer is None or observation is None:
            return self._policy.rerun(first)
        begun = self._clock()
        try:
            if not self._server.engine.up or begun < self._ask_from:
                raise LinkError(str(self._server.report()['state']))
            actions = self._server.full(observation, self._deadline)
        except LinkError as error:
            self.verified_here += 1
            self._warn(error)
            self._wait_longer(begun)
            return self._policy.rerun(first)
        self.verified += 1
        self._pause = 0.0
        layout = self.manifest.layout
        return Pass(
            stamp=first.stamp,
            instruction=first.instruction,
            normalised=actions,
            mode='rerun',
            trace=LayerTrace(tuple(range(layout.layers_total)), layout.layers_total),
            stage_seconds={'remote': self._clock() - begun},
            changed=not float(np.max(np.abs(actions - first.normalised))) <= CHANGED_BEYOND,
        )

    def _keep(self, observation: Observation, result: Pass) -> Pass:
        if result.trace.resume_layer is not None:
            # What lies in shared memory is overwritten by the next request.
            images = {name: np.array(image) for name, image in observation.images.items()}
            own = replace(observation, images=images, joints=np.array(observation.joints))
            self._seen[id(result)] = result, own
            while len(self._seen) > _KEPT:
                self._seen.popitem(last=False)
        return result

    def _wait_longer(self, begun: float) -> None:
        """The arm holds while a late server is waited for: not again and again."""
        if begun < self._ask_from:
            return
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._ask_from = self._clock() + self._pause

    def _warn(self, error: LinkError) -> None:
        now = time.monotonic()
        if now - self._logged_at > _LOG_PERIOD_S:
            self._logged_at = now
            _log.warning(
                'the full pass runs here (%d so far), for the policy server did not verify: %s',
                self.verified_here, error,
            )  # fmt: skip


class _Elsewhere:
    """What is read of an engine, where there is none here."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self.device = f'policy server {link.address.url}'

    @property
    def up(self) -> bool:
        found: bool = self._link.up
        return found

    def close(self) -> None:
        self._link.close()


class _Both:
    """The engine here, closed together with the link."""

    def __init__(self, engine: Any, elsewhere: _Elsewhere) -> None:
        self._engine, self._elsewhere = engine, elsewhere
        self.device = f'{engine.device}, verified by {elsewhere.device}'

    def close(self) -> None:
        self._elsewhere.close()
        self._engine.close()


def open_anywhere(config: EngineConfig) -> tuple[Any, str]:
    """The policy that the parameters name, wherever it runs, and its tokenizer's JSON.

    Raises:
        BundleError: No bundle or contract there, or a wrong one.
        EngineError: The back end is not available, or the server is not there.
        ConfigError: No address, or a wrong one.
    """
    if config.backend == 'remote':
        contract, manifest, text = _contract(config)
        server = _open_server(config, contract, manifest, text)
        try:
            server.warm_up(config.warmup_runs, config.remote_open_timeout_s)
        except LinkError as error:
            server.engine.close()
            raise EngineError(f'{server.engine.device}: {error}') from None
        return server, text
    policy, text = open_with_tokenizer(config)
    if config.rerun_where != 'remote':
        return policy, text
    contract = contract_of(policy.manifest)
    if config.remote_contract:
        contract = fitting(_contract(config)[0], policy.manifest)
    # Not waited for: while the server is away the full pass runs here.
    server = _open_server(config, contract, policy.manifest, text)
    return VerifiedPolicy(policy, server, config.rerun_deadline_s), text


def manifest_of(config: EngineConfig) -> Manifest:
    """What a policy of these parameters promises: nothing is run, and no server is asked.

    Raises:
        BundleError: No bundle or contract there, or a wrong one.
        EngineError: What a server is asked with is not installed.
        ConfigError: No address, or a wrong one.
    """
    if config.backend == 'remote':
        _address(config).context()
        return _contract(config)[1]
    if is_fake_path(config.path) or config.backend == FAKE:
        return no_model(config.path if is_fake_path(config.path) else FAKE)
    manifest = open_bundle(folder_of(config.path)).manifest
    if config.rerun_where == 'remote':
        _address(config).context()
        if config.remote_contract:
            fitting(_contract(config)[0], manifest)
    return manifest


def _contract(config: EngineConfig) -> tuple[Contract, Manifest, str]:
    """What the server reads and answers, what its numbers mean, and a tokenizer's JSON."""
    given = Path(config.remote_contract or config.path).expanduser()
    if config.remote_contract and not given.is_dir():
        contract = read_contract(given)
        return contract, contract.manifest(), COUNTS_WORDS
    if is_fake_path(str(given)):  # dysl serve fake
        manifest = no_model(str(given))
        return contract_of(manifest), manifest, COUNTS_WORDS
    bundle = open_bundle(folder_of(config.remote_contract or config.path))
    manifest = bundle.manifest
    text = bundle.path(manifest.instruction.tokenizer).read_text(encoding='utf-8')
    return contract_of(manifest), manifest, text


def _open_server(
    config: EngineConfig, contract: Contract, manifest: Manifest, tokenizer: str
) -> RemotePolicy:
    address = _address(config)
    from dysl_vla_ros.engines.remote.link import Link

    known = _Words(manifest, load_tokenizer(manifest, tokenizer))
    digest = '' if config.remote_contract or is_fake(manifest) else manifest.digest
    link = Link(address, fits=SameModel(contract, digest))
    return RemotePolicy(link, contract, manifest, known, config.remote_deadline_s)


def _address(config: EngineConfig) -> Address:
    try:
        from dysl_vla_ros.engines.remote.link import Address, read_token
    except ImportError as error:
        raise EngineError(
            f'a policy server is asked over websockets and msgpack ({error}): '
            "pip install 'dysl_vla_ros[remote]'"
        ) from None
    return Address(
        config.remote_url, read_token(config.remote_token_file), config.remote_ca_file,
        config.remote_max_message_mb << 20,
    )  # fmt: skip


def _said(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a server of ours says beside the actions; nothing for others."""
    found = answer.get(ASK)
    return found if isinstance(found, dict) else {}


def _check_exit(answer: Mapping[str, Any], plan: SkipPlan, manifest: Manifest) -> None:
    """Refuse the pass of another exit: a server of before knows no exit but its bundle's.

    Raises:
        LinkError: It says that other layers ran; what others skip they do not say.
    """
    said, total = _said(answer), manifest.layers_total
    layers = said.get('layers_run')
    if plan.exit_layer is None or said.get('layers_total') != total or layers is None:
        return
    if layers != [*range(plan.exit_layer), total - 1]:
        raise LinkError(
            f'the server ran the layers {str(layers)[:60]}: expected an exit at '
            f'{plan.exit_layer}; is it an older dysl serve? Take the same release there, the '
            "exit of its bundle, or skip.mode = 'auto'"
        )


def _trace(answer: Mapping[str, Any], manifest: Manifest) -> LayerTrace:
    """Layers that a server of ours ran of the same bundle; else all, of one where none is known.

    Nothing is kept from which a pass could be run again.
    """
    said, total = _said(answer), manifest.layers_total
    layers = said.get('layers_run')
    if said.get('layers_total') != total or not isinstance(layers, list):
        return LayerTrace(tuple(range(total)), total)
    known = all(type(layer) is int and 0 <= layer < total for layer in layers)
    if not known or layers != sorted(set(layers)) or not layers:
        return LayerTrace(tuple(range(total)), total)
    jumps = tuple(
        Jump(first + 1, then)
        for first, then in zip(layers[:-1], layers[1:], strict=True) if then > first + 1
    )  # fmt: skip
    return LayerTrace(tuple(layers), total, jumps=jumps)
