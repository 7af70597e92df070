# Never built: no Jetson and no container engine were at hand where this was written.
#
# For JetPack 6.2 (Ubuntu 22.04, Humble, TensorRT 10.3). doc/orin.md is the way without a container.
#
#   docker build -f doc/docker/jetpack.Dockerfile -t dysl_vla_ros .
#   docker run --rm -it --runtime nvidia --net=host --ipc=host --cap-add SYS_NICE \
#     --cap-add IPC_LOCK -v ~/bundles:/bundles dysl_vla_ros
#
# Plans are built on the board, in the container: dysl build /bundles/oft16
FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel

SHELL ["/bin/bash", "-c"]
ENV DEBIAN_FRONTEND=noninteractive ROS_DISTRO=humble
RUN apt-get update && apt-get install -y --no-install-recommends curl gnupg lsb-release \
    && curl -sSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key \
       -o /usr/share/keyrings/ros.gpg \
    && echo "deb [signed-by=/usr/share/keyrings/ros.gpg] http://packages.ros.org/ros2/ubuntu jammy main" \
       > /etc/apt/sources.list.d/ros2.list \
    && apt-get update && apt-get install -y --no-install-recommends ros-humble-ros-base \
       ros-humble-pinocchio python3-rosdep python3-venv python3-libnvinfer \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /ws
COPY . src/dysl_vla_ros
RUN apt-get update && rosdep init && rosdep update && source /opt/ros/humble/setup.bash \
    && rosdep install --from-paths src -iy --skip-keys python3-onnxruntime-pip \
    && rm -rf /var/lib/apt/lists/*
# No mujoco-core: a Jetson drives a real arm. Messages and TensorRT are compiled for numpy 1.
RUN python3 -m venv --system-site-packages /dysl && source /dysl/bin/activate \
    && pip install --no-cache-dir 'numpy==1.26.4' 'onnxruntime>=1.17,<2' \
       'tokenizers>=0.15,<1' 'setuptools<80' colcon-common-extensions
RUN source /opt/ros/humble/setup.bash && source /dysl/bin/activate && colcon build

RUN printf '#!/bin/bash\nsource /ws/install/setup.bash\nexec "$@"\n' > /entrypoint \
    && chmod +x /entrypoint
ENTRYPOINT ["/entrypoint"]
CMD ["dysl", "doctor"]
