# Three images from one file: `docker build --target agent|aggregator|simulator .`

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
