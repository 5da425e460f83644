# The curator: docker build -f docker/curator.Dockerfile -t amatl-curator .
# Use: docker run --rm -v "$PWD:/data" amatl-curator ingest /data/pictures --dataset mine --catalog /data/lab.duckdb
FROM python:3.11-slim
WORKDIR /amatl
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY schemas schemas
COPY curator curator
COPY trainer_client trainer_client
RUN pip install --no-cache-dir --constraint constraints.txt '.[curator]'
WORKDIR /data
ENTRYPOINT ["curator"]
