# Build: docker build -t modelmuxer .            Redis and JWT are in it; a plugin: FROM modelmuxer, and your own step
# Run:   docker run -p 127.0.0.1:8000:8000 -e OPENAI_API_KEY=... modelmuxer
# Tight: docker run --read-only --cap-drop ALL --security-opt no-new-privileges -v muxer-data:/data ... modelmuxer
#
# The base is pinned by tag, not by digest: nobody has looked the digest up yet. To pin it, append @sha256:... twice.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY image image
# Only files whose hash is in image/ are installed (`make image-lock` renews them), and no code of theirs runs meanwhile.
RUN python -m venv /build && python -m venv /venv \
    && /build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r image/build.txt \
    && /venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r image/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY muxer muxer
COPY plugins plugins
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /venv/bin/pip install --no-cache-dir --no-deps --no-index /wheels/modelmuxer-*.whl \
    && /venv/bin/pip check \
    && /venv/bin/pip uninstall --yes pip \
    && test -z "$(find /venv -name '*.pth' -o -name sitecustomize.py -o -name usercustomize.py)" \
    && mkdir /data

FROM ${BASE}
# Python writes nothing and buffers nothing: the root may be read-only, and the log arrives as it happens.
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /venv /venv
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
# The one place written to: muxer.db. A routing.yaml or .env mounted here is read, else the built-in one.
VOLUME /data
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
ENTRYPOINT ["muxer"]
# With no API key configured it makes one, prints it once and requires it.
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--make-key"]
