# Never built: no container engine was at hand where this was written. The lines are those of
# doc/install.md, played through with wheels standing for the system's packages.
#
#   docker build -f doc/docker/jazzy.Dockerfile -t dysl_vla_ros .
#   docker run --rm -it --net=host --ipc=host --cap-add SYS_NICE --cap-add IPC_LOCK dysl_vla_ros
#
# --net and --ipc: DDS finds the arm's drivers, and images go through shared memory. The
# capabilities: SCHED_FIFO and locked memory for the command thread (dysl doctor).
FROM ros:jazzy-ros-base

SHELL ["/bin/bash", "-c"]
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv python3-rosdep \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /ws
COPY . src/dysl_vla_ros
RUN apt-get update && rosdep update && source /opt/ros/jazzy/setup.bash \
    && rosdep install --from-paths src -iy --skip-keys python3-onnxruntime-pip \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv --system-site-packages /dysl && source /dysl/bin/activate \
    && pip install --no-cache-dir 'numpy>=1.24,<2' 'onnxruntime>=1.17,<2' \
       'mujoco-core>=4.0,<4.1' 'setuptools<80' colcon-common-extensions
RUN source /opt/ros/jazzy/setup.bash && source /dysl/bin/activate && colcon build

RUN printf '#!/bin/bash\nsource /ws/install/setup.bash\nexec "$@"\n' > /entrypoint \
    && chmod +x /entrypoint
ENTRYPOINT ["/entrypoint"]
CMD ["ros2", "launch", "dysl_vla_ros", "manipulation.launch.py"]
