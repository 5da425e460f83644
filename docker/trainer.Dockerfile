# The trainer: docker build -f docker/trainer.Dockerfile -t amatl-trainer .
# Use: docker run --rm --gpus all -v "$PWD:/data" --user "$(id -u)" amatl-trainer train /data/snapshots/all --captions template --out /data/runs/template
# The base image brings CUDA's torch; constraints.txt pins another build, so torch's line is left out.
FROM pytorch/pytorch:2.11.0-cuda13.0-cudnn9-runtime
WORKDIR /amatl
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY schemas schemas
COPY curator curator
COPY trainer_client trainer_client
RUN grep -v '^torch==' constraints.txt > constraints.docker.txt \
 && pip install --no-cache-dir --constraint constraints.docker.txt '.[trainer]' \
 && useradd --create-home --uid 10001 amatl \
 && install --directory --owner amatl /data
USER 10001
WORKDIR /data
ENTRYPOINT ["trainer"]
