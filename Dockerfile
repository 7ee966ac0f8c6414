# Serve exported models: no AllenNLP, no torch, no compiler.
#
#   docker build -t sledgehammer .
#   docker run --rm -p 8000:8000 -v "$PWD/out/review_engine:/models/reviews:ro" sledgehammer
#
# Build with --build-arg RUNTIME=openvino for engines of that format.
FROM python:3.12-slim AS build
ARG RUNTIME=onnxruntime
WORKDIR /source
COPY setup.py pyproject.toml README.md LICENSE constraints.txt ./
COPY sledgehammer sledgehammer
# The package's own requirements are those of training, so that only what serves is named here.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir -c constraints.txt \
        numpy tokenizers "${RUNTIME}" httptools msgspec prometheus-client starlette uvicorn uvloop \
    && /venv/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home sledgehammer
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
# Within a container the server listens on all its addresses; what is published decides who can ask.
ENTRYPOINT ["sledgehammer", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["reviews=/models/reviews"]
