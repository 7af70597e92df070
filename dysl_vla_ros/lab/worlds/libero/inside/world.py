"""One LIBERO task, headless: official environment, start states and success check.

The scene is built once per task; an episode starts from a stored state without the official
three-second reset, with everything restored that such a reset leaves behind beside the state
(``test_libero`` plays the same actions after both: the same positions to the last bit).
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.worlds.libero.suites import OWN_WORDS, WAITING, WIDEST_M

os.environ.setdefault('MUJOCO_GL', 'egl')
warnings.filterwarnings('ignore')
with contextlib.redirect_stdout(io.StringIO()):
    from libero.libero import benchmark
    from libero.libero.envs.env_wrapper import ControlEnv

    from dysl_vla_ros.lab.worlds.libero.inside.goals import Goal, goals_in, task_file

Floats = NDArray[np.float64]
REST: Floats = np.array([0, 0, 0, 0, 0, 0, -1.0])
_WITHIN = '_contain_region'


def suite_of(name: str) -> Any:
    """The benchmark's object of a suite."""
    with contextlib.redirect_stdout(io.StringIO()):
        return benchmark.get_benchmark(name)(task_order_index=0)


def official_episode(suite: str, task: int, number: int, actions: Floats) -> tuple[Floats, bool]:
    """The same actions after a full official reset: final positions, and success."""
    bench = suite_of(suite)
    env = ControlEnv(str(task_file(bench.get_task(task))), has_renderer=False,
                     has_offscreen_renderer=False, use_camera_obs=False)  # fmt: skip
    env.seed(0)
    env.reset()
    env.set_init_state(np.asarray(bench.get_task_init_states(task))[number])
    done = False
    for action in (*[REST] * WAITING, *actions):
        _, _, done, _ = env.step(list(action))
    found = env.env.sim.data.qpos.copy()
    env.close()
    return found, bool(done)


class LiberoWorld:
    """One task's scene.

    Attributes:
        instruction: The task's true words.
        own: The task's goal.
        goals: Number of a task of the suite -> what its words mean in this scene; the own too.
        goal: What is being asked for; the task's own unless ``ask_for`` changed it.
    """

    def __init__(self, suite: str, number: int, draws: bool = True) -> None:
        """Build a scene.

        Args:
            suite: Of the benchmark, perturbed ones included.
            number: Of the task in the suite.
            draws: Whether pictures will be asked for.
        """
        bench = suite_of(suite)
        task = bench.get_task(number)
        self.number = number
        self.states = np.asarray(bench.get_task_init_states(number))
        self.env: Any = ControlEnv(
            str(task_file(task)), has_renderer=False, has_offscreen_renderer=draws,
            use_camera_obs=False, camera_names=['agentview'],
        )  # fmt: skip
        self.env.seed(0)
        self.env.reset()
        own_words = suite.endswith(OWN_WORDS)
        self.instruction = str(self.env.language_instruction if own_words else task.language)
        self.inner: Any = self.env.env
        self.robot: Any = self.inner.robots[0]
        self.model: Any = self.inner.sim.model._model
        self.data: Any = self.inner.sim.data._data
        self._fingers = self.robot._ref_gripper_joint_pos_indexes
        self.joints = self.robot._ref_joint_pos_indexes
        # What a reset leaves behind besides the state: until its first update the controller
        # still wants the noiseless home pose; and the solver's warm start.
        self._left = {name: np.array(value) if isinstance(value, np.ndarray) else value
                      for name, value in vars(self.robot.controller).items()
                      if isinstance(value, (np.ndarray, float, bool))}  # fmt: skip
        self._warm, self._ctrl = self.data.qacc_warmstart.copy(), self.data.ctrl.copy()
        self._fixtures = _fixtures(self.inner)
        self._stand = {body: (self.model.body_pos[body].copy(), self.model.body_quat[body].copy())
                       for body in self._fixtures}  # fmt: skip
        self.own = self.goal = Goal(*self.inner.parsed_problem['goal_state'][0])
        self.goals = dict(sorted({number: self.own, **goals_in(bench, number)}.items()))
        self.shut = False
        # 25 sweeps over all observables per action are for nobody.
        for name in list(self.inner._observables):
            self.inner.modify_observable(name, 'enabled', False)
            self.inner.modify_observable(name, 'active', False)

    def ask_for(self, goal: Goal) -> None:
        """Pursue another goal in this scene; the success check follows."""
        self.goal = goal

    def start(self, number: int) -> None:
        """An official start state, as a fresh official reset leaves it, settled."""
        self._place(self._stand)
        self.start_from(self.states[number])

    def draw(self, seed: int) -> None:
        """Draw places for fixtures and objects, as an official reset does but in a tenth of it."""
        # What stands on a fixture is placed from where the model's file has the fixture: without
        # this a second draw adds to the first, and a bowl begins in the air beside the cabinet.
        self._place(self._fixtures)
        self.inner.hard_reset = False
        np.random.seed(seed)  # what robosuite draws from
        self.env.reset()

    def _place(self, poses: dict[int, tuple[Floats, Floats]]) -> None:
        for body, (position, turned) in poses.items():
            self.model.body_pos[body], self.model.body_quat[body] = position, turned

    def start_from(self, state: Floats) -> None:
        """Begin at a stored state, and wait as the official protocol does."""
        robot = self.robot
        self.inner.sim.reset()
        self.data.qacc_warmstart[:], self.data.ctrl[:] = self._warm, self._ctrl
        self.inner.sim.set_state_from_flattened(state)
        self.inner.sim.forward()
        self.inner.timestep, self.inner.done, self.shut = 0, False, False
        robot.gripper.current_action = np.zeros(robot.gripper.dof)
        for name, value in self._left.items():
            kept = value.copy() if isinstance(value, np.ndarray) else value
            setattr(robot.controller, name, kept)
        self.inner._post_process()
        for _ in range(WAITING):
            self.step(REST)
        self._lowest = {name: self.body(name)[0][2] for name in self.things}
        self.lifted = dict.fromkeys(self.things, 0.0)

    def step(self, action: Floats) -> bool:
        """Play one action, (7,) in the controller's units; whether the asked-for goal is met."""
        self.inner.done = False
        self.shut = bool(action[6] > 0)
        _, _, done, _ = self.env.step(np.asarray(action, float))
        if hasattr(self, 'lifted'):
            for name, lowest in self._lowest.items():
                height = self.body(name)[0][2] - lowest
                self.lifted[name] = max(self.lifted[name], float(height))
        return bool(done) if self.goal == self.own else self.reached(self.goal)

    def reached(self, goal: Goal) -> bool:
        """Whether a goal is met, by the official predicate."""
        return bool(self.inner._eval_predicate(goal.atom))

    @property
    def liftable(self) -> dict[int, str]:
        """Number of a task -> the object that its words ask for here, where that is not fixed."""
        return {number: goal.thing for number, goal in self.goals.items()
                if goal.thing in self.inner.objects_dict}  # fmt: skip

    @property
    def things(self) -> list[str]:
        """Objects that the words of this suite's tasks can ask for in this scene."""
        return list(dict.fromkeys(self.liftable.values()))

    def proprioception(self) -> NDArray[np.float32]:
        """Joint positions [rad] and the gripper's opening, 0 to 1, (8,)."""
        opening = np.clip(self.opening() / WIDEST_M, 0.0, 1.0)
        return np.array([*self.data.qpos[self.joints], opening], np.float32)

    def opening(self) -> float:
        """Between the fingers [m]."""
        left, right = self.data.qpos[self._fingers]
        return float(left - right)

    def hand(self) -> tuple[Floats, Floats]:
        """Position (3,) [m] and orientation (3, 3) of the point between the fingers."""
        site = self.robot.eef_site_id
        return self.data.site_xpos[site].copy(), self.data.site_xmat[site].reshape(3, 3).copy()

    def body(self, name: str) -> tuple[Floats, Floats]:
        """Position and orientation of an object; privileged."""
        number = self.inner.obj_body_id[name]
        return self.data.xpos[number].copy(), self.data.xmat[number].reshape(3, 3).copy()

    def spot(self, place: str) -> Floats:
        """Where an object, a fixture or a region of one is, (3,) [m]; privileged."""
        name = place.removesuffix(_WITHIN)
        if name in self.inner.obj_body_id:
            return self.body(name)[0]
        found: Floats = self.data.site_xpos[self.model.site(name).id].copy()
        return found

    def grasped(self, name: str) -> bool:
        """Whether both fingers touch an object; privileged."""
        thing = self.inner.get_object(name)
        return bool(self.inner._check_grasp(self.robot.gripper, thing))

    def grips(self, shapes: list[str]) -> bool:
        """Whether both fingers touch one of some collision shapes; privileged."""
        return bool(self.inner._check_grasp(self.robot.gripper, shapes))

    def close(self) -> None:
        """Free the scene."""
        with contextlib.redirect_stderr(io.StringIO()):
            self.env.close()


def _fixtures(inner: Any) -> dict[int, tuple[Floats, Floats]]:
    """Bodies of what stands fixed, with position and orientation in the model's file."""
    bodies = {body.get('name'): body for body in inner.model.worldbody.iter('body')}
    found = {}
    for fixture in inner.fixtures_dict.values():
        body = bodies[fixture.root_body]
        found[inner.sim.model.body_name2id(fixture.root_body)] = (
            np.array(body.get('pos', '0 0 0').split(), float),
            np.array(body.get('quat', '1 0 0 0').split(), float),
        )
    return found
