--! Queries of `curator doctor` and `curator prune`; methods in ../checks.py.

-- name: schema_number
-- The number of the last migration the catalog has had.
SELECT max(number) AS number FROM migrations;

-- name: files_on_record
-- Every path of a dataset with the size and time it was read at.
SELECT path, image_sha256, size_bytes, mtime_ns FROM current_files WHERE dataset = $dataset ORDER BY path;

-- name: images_on_record
-- Every image that a path of any dataset ever held, and whether one holds it now.
SELECT image_sha256, image_sha256 IN (SELECT image_sha256 FROM current_files) AS here
FROM (SELECT DISTINCT image_sha256 FROM files);

-- name: ingested_folders
-- The folders of a dataset, each with the options of its last finished ingest.
SELECT root, options FROM ingests
WHERE dataset = $dataset
QUALIFY row_number() OVER (PARTITION BY root ORDER BY ingest_id DESC) = 1
ORDER BY root;

-- name: unfinished_files
-- How many rows of a dataset an interrupted ingest wrote that no later one of their folder has gone over.
SELECT count(*) AS files FROM files AS f
WHERE dataset = $dataset AND NOT EXISTS (
    SELECT * FROM ingests AS i
    WHERE i.dataset = $dataset AND i.ingest_id >= f.ingest_id AND starts_with(f.path, rtrim(i.root, '/') || '/')
);

-- name: caption_coverage
-- For each caption set of a dataset, how many of the images it has now lack a caption.
SELECT s.set_name, count(*) AS images, count(*) FILTER (WHERE c.text IS NULL) AS without_caption
FROM (SELECT DISTINCT set_name FROM captions WHERE dataset = $dataset) AS s
CROSS JOIN (SELECT DISTINCT image_sha256 FROM current_files WHERE dataset = $dataset) AS i
LEFT JOIN (
    SELECT set_name, image_sha256, text FROM captions
    WHERE dataset = $dataset
    QUALIFY row_number() OVER (PARTITION BY set_name, image_sha256 ORDER BY caption_id DESC) = 1
) AS c ON c.set_name = s.set_name AND c.image_sha256 = i.image_sha256
GROUP BY s.set_name
ORDER BY s.set_name;
