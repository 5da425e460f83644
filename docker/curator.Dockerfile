# The curator, as a service or for one command. Build: docker build -f docker/curator.Dockerfile -t amatl-curator .
# One command: docker run --rm -v "$PWD:/data" --user "$(id -u)" amatl-curator ingest /data/pictures --dataset mine
FROM python:3.11.13-slim-bookworm
WORKDIR /amatl
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY schemas schemas
COPY curator curator
COPY trainer_client trainer_client
RUN pip install --no-cache-dir --constraint constraints.txt '.[curator,label-studio,service]' \
 && useradd --create-home --uid 10001 amatl \
 && install --directory --owner amatl /data
USER 10001
WORKDIR /data
ENV CURATOR_CATALOG=/data/lab.duckdb
EXPOSE 8400
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s \
 CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8400/readyz', timeout=5)"]
ENTRYPOINT ["curator"]
CMD ["serve", "--host", "0.0.0.0", "--allow", "/data"]
