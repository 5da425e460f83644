--! Queries on versions; methods in ../versions.py.

-- name: versions (kept)
-- Every committed version of every set, oldest first.
SELECT dataset, set_name, number, last_caption_id, captions, digest, message, person, rfc3339(committed_at) AS committed_at
FROM versions
ORDER BY dataset, set_name, number;

-- name: add_version
-- Commits a set as it was at a caption id, as the next version of it.
INSERT INTO versions
SELECT $dataset, $set_name, 1 + coalesce(max(number), 0), $last_caption_id, $captions, $digest, $message, $person, now()
FROM versions
WHERE dataset = $dataset AND set_name = $set_name;
