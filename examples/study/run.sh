#!/usr/bin/env bash
# The full study: the four strategies on the 76 human-captioned pictures, all but human on all 277; epochs 1 to 100.
# usage: run.sh SNAPSHOTS BASE OUT   (SNAPSHOTS holds human76/ and all/, as examples/study/README.md makes them)
# With two GPUs the groups run beside each other; all/template runs alone on the first, so that its seconds are its own.
set -euo pipefail
snapshots=$1 base=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
second=$(( $(nvidia-smi -L | wc -l) > 1 ? 1 : 0 ))

one() {  # one GROUP SNAPSHOT CAPTIONS GPU
    mkdir -p "$out/$1"
    python3 -m trainer_client train "$snapshots/$2" --captions "$3" --base "$base" --epochs 100 \
        --learning-rate 1e-4 --batch-size 8 --prompts "$here/prompts.txt" --seeds 1,2,3 --price-per-hour 2.5 \
        --device "cuda:$4" ${EXTRA:-} --out "$out/$1/$3" > "$out/$1-$3.log" 2>&1 || echo "failed: $1/$3"
}

four() { for captions in empty fixed template human; do one 76 human76 "$captions" "$second" & done; wait; }
rest() { for captions in empty fixed; do one all all "$captions" 0 & done; wait; }

if [ "$second" = 1 ]; then
    four & one all all template 0; rest; wait
else
    one all all template 0; four; rest
fi
tail -n 4 "$out"/*.log
