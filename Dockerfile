# One image with everything: the appliance, Debian's Postgres and Debian's Mosquitto, run by one user that is not root.
#
#   docker compose up -d          # builds it, and starts it as compose.yaml has it: read-only, without capabilities
#
# Everything here and in requirements.txt exists for linux/amd64 and linux/arm64. docs/containers.md has how to run it.

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/appliance
WORKDIR /src
# The pinned packages first: this layer stays as long as they do.
COPY requirements.txt ./
RUN /opt/appliance/bin/pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes --requirement requirements.txt
# What only builds stays in this stage, in a place of its own.
COPY requirements-build.txt ./
RUN /opt/appliance/bin/pip install --no-cache-dir --no-compile --require-hashes --target /build-tools --requirement requirements-build.txt
COPY LICENSE README.md THIRD-PARTY-NOTICES.md appliance.toml pyproject.toml requirements-wheels.txt ./
COPY appliance appliance
COPY sql sql
COPY static static
COPY templates templates
# Nothing installs anything in the image later: setuptools and pip go, pip itself last. Byte code is trusted unchecked:
# nobody can edit the source beside it, and a copy that changes the time of files does not make it void.
RUN PYTHONPATH=/build-tools /opt/appliance/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/appliance/bin/pip install --no-cache-dir --no-compile --no-index --no-deps /wheel/*.whl \
    && /opt/appliance/bin/pip uninstall --yes --quiet setuptools pip \
    && /opt/appliance/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/appliance/lib

FROM debian:bookworm-slim
# dpkg leaves out what nothing here uses, as Debian's slim images do with manuals, so that the list of packages stays
# true and apt consistent: LLVM, which Postgres loads for just-in-time compilation (jit is off), and Perl, which runs
# Debian's commands around Postgres (ours starts its programs itself; postgresql-common's set-up needs no more of Perl
# than every Debian has).
RUN printf '%s\n' \
      'path-exclude=/usr/lib/*/libLLVM*' \
      'path-exclude=/usr/lib/*/libz3.so*' \
      'path-exclude=/usr/lib/postgresql/*/lib/bitcode/*' \
      'path-exclude=/usr/lib/postgresql/*/lib/llvmjit*' \
      'path-exclude=/usr/lib/*/perl/5*' \
      'path-exclude=/usr/lib/*/libperl.so*' \
      'path-exclude=/usr/share/perl/*' \
      'path-exclude=/usr/share/i18n/*' \
      'path-exclude=/usr/share/locale/*' \
      'path-exclude=/usr/share/man/*' \
      'path-exclude=/usr/share/doc/*' \
      'path-include=/usr/share/doc/*/copyright' \
      >/etc/dpkg/dpkg.cfg.d/appliance \
# The services are children of the appliance: no cluster of Debian's own, and nothing is started.
    && mkdir -p /etc/postgresql-common/createcluster.d \
    && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/appliance.conf \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ca-certificates mosquitto postgresql python3 \
# The hashes of what is installed, which nothing keeps but the mirror's list: they go into the bill of materials below.
    && mkdir -p /usr/share/appliance \
    && dpkg-query --show --showformat '${Package}\n' | xargs apt-cache show --no-all-versions \
      | grep -E '^(Package|Version|SHA256):' >/usr/share/appliance/debian-packages \
    && apt-get clean \
# ssl-cert, which comes with Postgres, has made a key while it was installed: all containers would share it.
    && rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem \
    && find /etc/ssl/certs -xtype l -delete \
    && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/cache/ldconfig/* /var/log/* \
    && groupadd --gid 10001 appliance \
    && useradd --no-log-init --no-create-home --uid 10001 --gid 10001 --home-dir /var/lib/appliance --shell /usr/sbin/nologin appliance \
    && install --directory --owner appliance --group appliance --mode 700 /var/lib/appliance \
# One user runs everything and becomes nobody else: no program needs to.
    && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /opt/appliance /opt/appliance
ENV PATH=/opt/appliance/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    APPLIANCE_DATA_DIR=/var/lib/appliance \
    APPLIANCE_WEB_TLS=true \
    APPLIANCE_BROKER_TLS_PORT=8883
# Every package with version, licence and hash, as CycloneDX has it.
RUN appliance sbom >/usr/share/appliance/sbom.cdx.json
LABEL org.opencontainers.image.title="Edge Appliance" \
      org.opencontainers.image.description="An edge gateway in one process: MQTT in, committed readings in Postgres, alerts, routes and renewals out." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /var/lib/appliance
USER 10001:10001
VOLUME /var/lib/appliance
EXPOSE 1883 8080 8883
STOPSIGNAL SIGTERM
# Asks over a socket in the data folder, whatever ports are open: is the process alive? Not: is it ready? An appliance
# that waits for its disk, its database or its broker must not be killed for it.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["appliance", "healthcheck"]
CMD ["appliance", "run"]
