#!/usr/bin/env bash
# The main job end to end on examples/openmoji: images -> captions by strategy -> versions -> snapshot -> runs -> report.
# `make demo` calls it. Run again, it does only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-demo}
export CURATOR_CATALOG=$OUT/lab.duckdb AMATL_CACHE=$OUT/cache

step() {  # Shows a command as one would type it, then runs it.
    local line='$' word
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./=,:@%+-]+$ ]] || word="'$word'"
        line+=" $word"
    done
    printf '\n%s\n' "$line"
    "$@"
}

mkdir -p "$OUT"
step curator init "$CURATOR_CATALOG"
step curator ingest examples/openmoji/images --dataset openmoji --metadata examples/openmoji/metadata.csv --join-on file_name

step curator caption openmoji --strategy empty --set empty
step curator caption openmoji --strategy fixed --set fixed -o 'text=openmoji drawing'
step curator caption openmoji --strategy template --set template -o 'template=openmoji drawing of ${annotation}, ${subgroup}'
step curator caption openmoji --strategy blip --set blip -o model=examples/mini/blip
step curator caption openmoji --strategy column --set human --by amatl -o file=examples/openmoji/human.csv -o join_on=file_name -o column=caption
for set in empty fixed template blip human; do
    step curator commit "openmoji/$set" -m "first draft"
done

step curator snapshot human@1 blip@1 template@1 fixed@1 empty@1 --out "$OUT/snapshots/human76" --holdout 16

training=(--base examples/mini/sd --epochs 8 --save-epochs 1,3,8 --learning-rate 1e-4 --batch-size 4
    --prompts examples/prompts.txt --seeds 1,2 --eval-timesteps 3)
step trainer check "$OUT/snapshots/human76" "${training[@]}" --out "$OUT/runs"
for captions in empty fixed template blip human; do
    step trainer train "$OUT/snapshots/human76" --captions "$captions" "${training[@]}" --out "$OUT/runs/$captions"
done

step trainer compare "$OUT"/runs/* --beside examples/study --out "$OUT/report.html"
