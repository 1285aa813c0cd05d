# The gateway as an image: make image, or docker build -t cachegate .
#
#   docker run -p 127.0.0.1:4000:4000 cachegate serve --demo
#
# docs/deploying.md says what it holds, how it may be locked down, and how it is built without Docker's registry.

# For the same image at every build name it by digest: --build-arg BASE=python:3.12-slim@sha256:...
# Any image with Python 3.11 or later as `python`, and its venv module, will do.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
# Where wheels come from other than PyPI: an index, or a directory that is mounted and PIP_NO_INDEX=1
ARG PIP_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_NO_INDEX
# requirements-otel.lock: with what sends traces and figures by OpenTelemetry (docs/tracing.md)
ARG LOCK=requirements.lock
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What it needs changes less often than the gateway does: a layer of its own. Wheels alone, so there is nothing to
# compile; the lock names setuptools for the build, and the gateway runs without.
COPY requirements.lock requirements-otel.lock ./
RUN python -m venv /pip && python -m venv --without-pip /opt/cachegate \
    && /pip/bin/pip --python /opt/cachegate/bin/python install --require-hashes --only-binary :all: -r "${LOCK}"
COPY LICENSE README.md pyproject.toml ./
COPY proxy proxy
RUN /pip/bin/pip --python /opt/cachegate/bin/python install --no-deps --no-index --no-build-isolation . \
    && /pip/bin/pip --python /opt/cachegate/bin/python uninstall --yes setuptools

FROM ${BASE}
# pip stays behind, where the base has it: what runs here installs nothing.
RUN if python -m pip --version; then python -m pip uninstall --yes --root-user-action ignore pip; fi \
    && groupadd --gid 10001 cachegate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cachegate \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/cache/cachegate
COPY --from=build /opt/cachegate /opt/cachegate
# A token that is made at start lies with the cache, where `cachegate` finds it in here: the rest may be read-only.
# hadolint ignore=DL3064
ENV PATH=/opt/cachegate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    LISTEN_HOST=0.0.0.0 \
    CACHE_DIR=/var/cache/cachegate \
    CACHEGATE__ADMIN__TOKEN_FILE=/var/cache/cachegate/admin.token
# config/cachegate.yaml is looked for here
WORKDIR /app
USER 10001:10001
VOLUME /var/cache/cachegate
EXPOSE 4000
# The gateway is the first process in here. It minds signals, ends what it started, and is told to end by this one.
STOPSIGNAL SIGTERM
# Alive, not well: a gateway that lost Redis serves on, and must not be taken for broken.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["cachegate", "health", "--live"]
ENTRYPOINT ["cachegate"]
CMD ["serve"]
# `make image` tells both; they change with every commit, so they come last.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Cachegate" \
      org.opencontainers.image.description="A caching HTTP gateway that can say why a request was a miss" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
