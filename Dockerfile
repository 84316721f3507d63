# Four images from one file: `docker build --target agent|agent-nonroot|aggregator|simulator .`

FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.txt requirements/
RUN pip install --require-hashes -r requirements/build.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

FROM build AS agent-build
RUN python -m venv --without-pip /opt/logboom \
 && pip --python /opt/logboom/bin/python install --require-hashes --only-binary :all: -r requirements/agent.txt \
 && pip --python /opt/logboom/bin/python install --no-deps /wheel/*.whl \
 && find /opt/logboom -depth -type d -name tests -exec rm -rf {} +

FROM build AS aggregator-build
RUN python -m venv --without-pip /opt/logboom \
 && pip --python /opt/logboom/bin/python install --require-hashes --only-binary :all: -r requirements/aggregator.txt \
 && pip --python /opt/logboom/bin/python install --no-deps /wheel/*.whl \
 && find /opt/logboom -depth -type d -name tests -exec rm -rf {} +

# Runs as root, because pod logs are readable for root only; it needs no capability and no writable file system.
FROM python:3.13-slim-bookworm AS agent
COPY --from=agent-build /opt/logboom /opt/logboom
ENV PATH=/opt/logboom/bin:$PATH PYTHONUNBUFFERED=1 LOGBOOM_LISTEN=0.0.0.0:8081
EXPOSE 8081
ENTRYPOINT ["logboom-agent"]

# As any user, with the one capability to read what others own; docs/operations.md, "Non-root". An image of its own: a
# program with a capability that its container does not allow cannot even be started.
FROM agent AS agent-nonroot
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libcap2-bin \
 && cp --remove-destination "$(readlink -f /opt/logboom/bin/python)" /opt/logboom/bin/python \
 && setcap cap_dac_read_search=ep /opt/logboom/bin/python \
 && apt-get purge --yes --auto-remove libcap2-bin \
 && rm -rf /var/lib/apt/lists/*
USER 65532:65532

# Writes a tree of pod logs, as a kubelet would: the demo's workload.
FROM agent AS simulator
ENTRYPOINT ["logboom-simulator"]

FROM python:3.13-slim-bookworm AS aggregator
COPY --from=aggregator-build /opt/logboom /opt/logboom
RUN mkdir /data && chown 10001:10001 /data
ENV PATH=/opt/logboom/bin:$PATH PYTHONUNBUFFERED=1 LOGBOOM_LISTEN=0.0.0.0:8080 LOGBOOM_STORE=chdb:///data/store
USER 10001:10001
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["logboom-aggregator"]
