# One image with everything: the appliance, Debian's Postgres and Debian's Mosquitto, run by one user that is not root.
#
#   docker build -t appliance .
#   docker run -p 8080:8080 -p 1883:1883 -v appliance:/var/lib/appliance appliance
#
# It also runs with --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges.

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/appliance
WORKDIR /src
# The pinned packages first: this layer stays as long as they do.
COPY requirements.txt ./
RUN /opt/appliance/bin/pip install --no-cache-dir --no-compile --require-hashes --requirement requirements.txt
# What only builds stays in this stage, in a place of its own.
COPY requirements-build.txt ./
RUN /opt/appliance/bin/pip install --no-cache-dir --no-compile --require-hashes --target /build-tools --requirement requirements-build.txt
COPY LICENSE README.md appliance.toml pyproject.toml ./
COPY appliance appliance
COPY sql sql
COPY static static
COPY templates templates
# Nothing installs anything in the image later: setuptools and pip go, pip itself last.
RUN PYTHONPATH=/build-tools /opt/appliance/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/appliance/bin/pip install --no-cache-dir --no-compile --no-index --no-deps /wheel/*.whl \
    && /opt/appliance/bin/pip uninstall --yes --quiet setuptools pip \
    && /opt/appliance/bin/python -m compileall -q /opt/appliance/lib

FROM debian:bookworm-slim
# The services are children of the appliance: no cluster of Debian's own, and nothing is started.
RUN mkdir -p /etc/postgresql-common/createcluster.d \
    && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/appliance.conf \
    && apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates mosquitto postgresql python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/appliance --shell /usr/sbin/nologin appliance \
    && install --directory --owner appliance --mode 700 /var/lib/appliance
COPY --from=build /opt/appliance /opt/appliance
ENV PATH=/opt/appliance/bin:$PATH \
    LANG=C.UTF-8 \
    APPLIANCE_DATA_DIR=/var/lib/appliance
WORKDIR /var/lib/appliance
USER 10001
VOLUME /var/lib/appliance
EXPOSE 1883 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "\
import os, urllib.request; \
from appliance.config import load; \
port = load(None, os.environ).config.web.port; \
urllib.request.urlopen(f'http://127.0.0.1:{port}/healthz', timeout=4)"]
CMD ["appliance", "run"]
