# wbcjax in a container: docker build -t wbcjax . ; for an NVIDIA GPU, --build-arg EXTRA=cuda13
#   docker run --rm -v "$PWD:/data" wbcjax inspect via.json images
#   docker run --rm --gpus all -v "$PWD:/data" wbcjax train --config mine.py --workdir runs/mine
FROM python:3.13-slim-trixie AS build
ARG EXTRA=""
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY wbcjax ./wbcjax
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint constraints.txt ".${EXTRA:+[$EXTRA]}" \
    && /venv/bin/pip uninstall --yes pip

FROM python:3.13-slim-trixie
COPY --from=build /venv /venv
RUN useradd --create-home --uid 1000 wbcjax && mkdir /data && chown wbcjax /data
USER wbcjax
WORKDIR /data
ENTRYPOINT ["/venv/bin/wbcjax"]
CMD ["--help"]
