#!/bin/sh
# Runs a command with a variable for each secret, named like its file: neither Label Studio nor `annotate` reads files.
set -eu
for file in "${SECRETS:-/run/secrets}"/*; do
    name=$(basename "$file")
    value=$(cat "$file")
    export "$name=$value"
done
exec "$@"
