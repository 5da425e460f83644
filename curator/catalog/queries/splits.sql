--! Queries on splits and what a snapshot reads; methods in ../splits.py.

-- name: stored_splits
-- The split of each near-duplicate group that was ever given one: held out once is held out for good.
SELECT representative_sha256, if(bool_or(split = 'validation'), 'validation', 'train') AS split
FROM splits
WHERE dataset = $dataset
GROUP BY representative_sha256
ORDER BY representative_sha256;

-- name: store_splits
-- Gives near-duplicate groups their split.
INSERT INTO splits
SELECT $dataset, representative_sha256, split, CAST($assigned_at AS TIMESTAMPTZ) FROM rows ORDER BY representative_sha256;

-- name: image_paths
-- Every path each image of a dataset is at, the first first.
SELECT image_sha256, list(path ORDER BY first_file_id) AS paths
FROM current_files
WHERE dataset = $dataset
GROUP BY image_sha256
ORDER BY image_sha256;

-- name: track
-- The captions of a set as of a caption id, each with where it came from; images without one are left out.
SELECT c.image_sha256, c.text, r.strategy, r.strategy_version, CAST(r.options AS VARCHAR) AS options, r.model,
    r.model_revision, r.by_person, r.person, r.restored_from, r.restored_by, rfc3339(c.captioned_at) AS captioned_at,
    c.inputs_digest
FROM captions AS c
JOIN (
    SELECT max(caption_id) AS caption_id
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND caption_id <= $last_caption_id
    GROUP BY image_sha256
) AS latest ON latest.caption_id = c.caption_id
JOIN caption_runs AS r ON r.run_id = c.run_id
WHERE c.text IS NOT NULL
ORDER BY c.image_sha256;
