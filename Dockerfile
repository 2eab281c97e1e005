# syntax=docker/dockerfile:1
# The simulator and the load generator in one image. Args of llm-d-inference-sim and of `vllm serve` fit as they are:
#   docker build --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) .
# The digest is the index (amd64, arm64, ...) that docker-library/repo-info records for the tag on 2026-08-25, Python
# 3.12.14; .github/dependabot.yml asks for later ones. Another base: --build-context base=docker-image://IMAGE@DIGEST.
FROM python:3.12-slim-bookworm@sha256:0f5b26b9518d002b6173fd61daad821fa340635ebfec5bba471013f9ca114579 AS base

FROM base AS build
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY deploy/image deploy/image
COPY simulator simulator
COPY gateway gateway
COPY loadgen loadgen
COPY kit kit
COPY simfleet simfleet
# What is installed stands in deploy/image with its hashes (`make lock`); wheels only: what needs a compiler would fail
# here and not in the field.
RUN python -m venv /opt/simfleet \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --only-binary :all: --require-hashes --requirement deploy/image/build.txt \
 && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/simfleet/bin/pip install --only-binary :all: --require-hashes --requirement deploy/image/runtime.txt \
 && /opt/simfleet/bin/pip install --no-index --no-deps /wheels/*.whl \
 && /opt/simfleet/bin/pip check \
 && /opt/simfleet/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/simfleet/lib \
 && /opt/simfleet/bin/pip uninstall --yes pip

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vllm-simfleet" \
      org.opencontainers.image.description="vLLM-faithful model-server simulator and load generator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/simfleet /opt/simfleet
ENV PATH=/opt/simfleet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
WORKDIR /tmp
EXPOSE 8000
# In a container the server is there for others: it listens on every address.
ENTRYPOINT ["simfleet", "serve", "--host", "0.0.0.0"]
