--! Queries on datasets, files, images, near-duplicates and rejects; methods in ../images.py.

-- name: dataset_names (kept)
-- Every dataset, by name.
SELECT name FROM datasets ORDER BY name;

-- name: images_of_dataset
-- Each image of a dataset once, in the order it was first seen, with its first path's metadata and its near-duplicate group.
SELECT d.* EXCLUDE (dataset, first_file_id), coalesce(n.representative_sha256, d.image_sha256) AS representative_sha256
FROM dataset_images AS d
LEFT JOIN near_duplicates AS n ON n.dataset = d.dataset AND n.image_sha256 = d.image_sha256
WHERE d.dataset = $dataset
ORDER BY d.first_file_id;

-- name: next_ingest_id
-- The number of an ingest that begins.
SELECT nextval('ingest_ids') AS ingest_id;

-- name: last_ingest
-- The last finished ingest of a folder, if any.
SELECT ingest_id, options, counts, rfc3339(ingested_at) AS ingested_at
FROM ingests
WHERE dataset = $dataset AND root = $root
ORDER BY ingest_id DESC
LIMIT 1;

-- name: known_files
-- The current row of each path of a dataset below a folder (`prefix` ends with a slash).
SELECT path, file_name, image_sha256, size_bytes, mtime_ns, metadata, source_url, license, ingest_id
FROM current_files
WHERE dataset = $dataset AND starts_with(path, $prefix)
ORDER BY first_file_id;

-- name: known_rejects
-- The rejects that stand: of a folder, and of anything below it.
SELECT path, reason, detail, size_bytes, mtime_ns FROM (
    SELECT * FROM rejects
    WHERE dataset = $dataset AND (root = $root OR starts_with(path, $prefix))
    QUALIFY row_number() OVER (PARTITION BY path, reason ORDER BY ingest_id DESC, resolved) = 1
)
WHERE NOT resolved;

-- name: known_metadata_files
-- The metadata tables and sidecars that the last finished ingest of a folder saw.
SELECT path, size_bytes, mtime_ns FROM (
    SELECT * FROM metadata_files
    WHERE dataset = $dataset AND root = $root
    QUALIFY row_number() OVER (PARTITION BY path ORDER BY ingest_id DESC, gone) = 1
)
WHERE NOT gone;

-- name: add_files
-- A chunk of an ingest: new images, rows for paths, rejects; all of it or nothing.
INSERT INTO datasets SELECT $dataset, now() WHERE $dataset NOT IN (SELECT name FROM datasets);
INSERT INTO images SELECT sha256, size_bytes, width_px, height_px, format, has_alpha, exif_orientation, phash
    FROM new_images ON CONFLICT DO NOTHING;
INSERT INTO files SELECT (SELECT coalesce(max(file_id), 0) FROM files) + position, $dataset, path, file_name, image_sha256,
    size_bytes, mtime_ns, metadata, source_url, license, gone, $ingest_id FROM new_files ORDER BY position;
INSERT INTO rejects SELECT $dataset, $root, path, reason, detail, size_bytes, mtime_ns, resolved, $ingest_id
    FROM new_rejects;

-- name: finish_ingest
-- The end of an ingest: which metadata files it saw, and its own row.
INSERT INTO datasets SELECT $dataset, now() WHERE $dataset NOT IN (SELECT name FROM datasets);
INSERT INTO metadata_files SELECT $dataset, $root, path, size_bytes, mtime_ns, gone, $ingest_id FROM rows;
INSERT INTO ingests VALUES ($ingest_id, $dataset, $root, $person, now(), $options, $counts);

-- name: ungrouped_images
-- The images of a dataset without a near-duplicate group, in the order they were first seen.
SELECT image_sha256, phash
FROM dataset_images
WHERE dataset = $dataset
    AND image_sha256 NOT IN (SELECT image_sha256 FROM near_duplicates WHERE dataset = $dataset)
ORDER BY first_file_id;

-- name: representatives
-- The representative of each near-duplicate group of a dataset, the oldest first, with its hash.
SELECT n.image_sha256, i.phash
FROM near_duplicates AS n
JOIN images AS i ON i.sha256 = n.image_sha256
WHERE n.dataset = $dataset AND n.image_sha256 = n.representative_sha256
ORDER BY n.rowid;

-- name: add_near_duplicates
-- Puts images in near-duplicate groups, for good.
INSERT INTO near_duplicates SELECT $dataset, image_sha256, representative_sha256, distance FROM rows;

-- name: dataset_counts (kept)
-- How many paths, images, further paths of the same image, near-duplicate groups of several, images in those, rejects.
WITH paths AS (SELECT path, image_sha256 FROM current_files WHERE dataset = $dataset),
members AS (
    SELECT n.representative_sha256, count(*) AS images FROM near_duplicates AS n
    WHERE n.dataset = $dataset AND n.image_sha256 IN (SELECT image_sha256 FROM paths)
    GROUP BY 1 HAVING count(*) > 1
),
standing AS (
    SELECT resolved FROM rejects WHERE dataset = $dataset
    QUALIFY row_number() OVER (PARTITION BY path, reason ORDER BY ingest_id DESC, resolved) = 1
)
SELECT
    (SELECT count(*) FROM paths) AS paths,
    (SELECT count(DISTINCT image_sha256) FROM paths) AS images,
    (SELECT count(*) FROM members) AS near_duplicate_groups,
    (SELECT coalesce(sum(images), 0)::BIGINT FROM members) AS near_duplicate_images,
    (SELECT count(*) FROM standing WHERE NOT resolved) AS rejects;

-- name: standing_rejects (kept)
-- The rejects of a dataset, or of all where it is null, that a later ingest hasn't put right.
SELECT dataset, path, reason, detail, root FROM (
    SELECT * FROM rejects
    WHERE $dataset IS NULL OR dataset = $dataset
    QUALIFY row_number() OVER (PARTITION BY dataset, path, reason ORDER BY ingest_id DESC, resolved) = 1
)
WHERE NOT resolved
ORDER BY dataset, reason, path;
