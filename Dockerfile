# The gateway's image. It holds the sources, the locked packages and no secret: settings come when it starts.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
COPY requirements-gateway.txt /build/
# two environments, so that the one that is shipped holds no installer
RUN python3 -m venv /build/pip && python3 -m venv --without-pip /opt/gateway \
 && /build/pip/bin/pip --python /opt/gateway/bin/python install --quiet --no-compile \
      --only-binary :all: --require-hashes -r /build/requirements-gateway.txt \
 && find /opt/gateway -type d -name tests -prune -exec rm -rf {} + \
 && /opt/gateway/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/gateway/lib
COPY gateway /opt/gateway/app/gateway
RUN /opt/gateway/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/gateway/app

FROM python:3.11-slim
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/gateway/app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-m", "gateway.probe"]
CMD ["python", "-m", "gateway"]
# last, so that a new commit costs no new layer
ARG RELEASE=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="chat gateway" \
      org.opencontainers.image.version=$RELEASE \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.created=$CREATED
