# The gateway as an image: docker build -t cachegate . && docker run -p 127.0.0.1:4000:4000 cachegate serve --demo

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What it needs changes less often than the gateway does: a layer of its own. Wheels alone, so there is nothing to
# compile; the lock names setuptools for the build, and the gateway runs without.
COPY requirements.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements.lock \
    && python -m venv --without-pip /opt/cachegate \
    && pip --python /opt/cachegate/bin/python install --require-hashes --only-binary :all: -r requirements.lock \
    && pip --python /opt/cachegate/bin/python uninstall --yes setuptools
COPY LICENSE README.md pyproject.toml ./
COPY proxy proxy
RUN pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /wheels . \
    && pip --python /opt/cachegate/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.12-slim
# pip stays behind: what runs here installs nothing.
RUN pip uninstall --yes --root-user-action ignore pip \
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
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "from http.client import HTTPConnection; from os import environ as e; c = HTTPConnection('127.0.0.1', int(e.get('ADMIN_PORT') or e.get('PORT') or 4000), timeout=2); c.request('GET', (e.get('ADMIN_PREFIX') or '/cache') + '/live'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["cachegate"]
CMD ["serve"]
