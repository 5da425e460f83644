#!/bin/sh
# Makes the passwords that compose.yaml needs, each once. `make secrets`
#
# Nobody but you can enter their folder. The files in it are readable: Compose shows a container the file itself, with
# its owner and mode, and each of the containers runs as another user.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
chmod 700 "$folder"
for name in label-studio-password label-studio-token postgresql-password; do
    [ -s "$folder/$name" ] && continue
    od -An -N20 -tx1 /dev/urandom | tr -d ' \n' >"$folder/.$name"
    chmod 444 "$folder/.$name"
    mv "$folder/.$name" "$folder/$name"
done
echo "$folder: the passwords are there. You log in to Label Studio with the one in label-studio-password."
