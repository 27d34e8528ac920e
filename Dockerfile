# One image for every service: the code location with its engines, webserver, daemon and the command `fly64`.
# docs/how-to/containers.md says how it is built and started. Building needs the network, running does not.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# An index with another build of torch, such as PyTorch's own for CPUs. By default pip's: it runs on CPUs and NVIDIA GPUs.
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/fly64
WORKDIR /src
# The large packages first: a change of the project's own code does not fetch them again.
COPY constraints.txt ./
RUN /opt/fly64/bin/pip install --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
 && /opt/fly64/bin/pip install --constraint constraints.txt setuptools wheel
COPY pyproject.toml README.md LICENSE MANIFEST.in CHANGELOG.md CITATION.cff SECURITY.md ./
COPY fly64_assets ./fly64_assets
RUN /opt/fly64/bin/pip install --constraint constraints.txt --no-build-isolation ".[postgres,k8s,hdf5,parquet]"

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 fly64 \
 && useradd --uid 10001 --gid fly64 --create-home fly64 \
 && install -d -o fly64 -g fly64 /data /dagster
COPY --from=build /opt/fly64 /opt/fly64
COPY containers/workspace.yaml /etc/fly64/workspace.yaml
ENV PATH=/opt/fly64/bin:$PATH \
    DAGSTER_HOME=/dagster \
    FLY64_DATA_ROOT=/data \
    DAGSTER_DISABLE_TELEMETRY=yes \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /data
EXPOSE 4000
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s --retries=3 \
  CMD ["dagster", "api", "grpc-health-check", "-p", "4000"]
CMD ["dagster", "api", "grpc", "-m", "fly64_assets.definitions", "-h", "0.0.0.0", "-p", "4000"]
