--! Queries for browsing a dataset: what the gallery's working copy is made of and kept up with; methods in ../gallery.py.

-- name: gallery_marks (kept)
-- How far what a gallery shows of a dataset has grown: equal marks, equal rows. `new_captions`: those after a caption id.
SELECT
    coalesce((SELECT max(file_id) FROM files WHERE dataset = $dataset), 0) AS last_file_id,
    last_caption_id, captions, new_captions,
    (SELECT count(*) FROM near_duplicates WHERE dataset = $dataset) AS near_duplicates,
    (SELECT count(*) FROM splits WHERE dataset = $dataset) AS splits
FROM (
    SELECT coalesce(max(caption_id), 0) AS last_caption_id, count(*) AS captions,
        count(*) FILTER (caption_id > $last_caption_id) AS new_captions
    FROM captions WHERE dataset = $dataset
);

-- name: gallery_images
-- Each image of a dataset once, by the number of the row that first showed it; file_id is its path's row of now.
SELECT f.first_file_id AS number, f.file_id, f.image_sha256 AS sha256, f.file_name,
    if(i.exif_orientation >= 5, i.height_px, i.width_px) AS width_px,
    if(i.exif_orientation >= 5, i.width_px, i.height_px) AS height_px,
    i.size_bytes, i.format, i.has_alpha, f.license, f.source_url, f.paths
FROM (
    SELECT first_file_id, file_id, image_sha256, file_name, license, source_url,
        count(*) OVER (PARTITION BY image_sha256) AS paths
    FROM current_files
    WHERE dataset = $dataset
    QUALIFY row_number() OVER (PARTITION BY image_sha256 ORDER BY first_file_id) = 1
) AS f
JOIN images AS i ON i.sha256 = f.image_sha256
ORDER BY number;

-- name: gallery_new_files
-- The rows of paths after a file_id, with their images. `known`: the path had a row before, or has two; `seen`: the image had.
WITH fresh AS (
    SELECT * FROM files WHERE dataset = $dataset AND file_id > $last_file_id
)
SELECT f.file_id AS number, f.file_id, f.image_sha256 AS sha256, f.file_name,
    if(i.exif_orientation >= 5, i.height_px, i.width_px) AS width_px,
    if(i.exif_orientation >= 5, i.width_px, i.height_px) AS height_px,
    i.size_bytes, i.format, i.has_alpha, f.license, f.source_url,
    f.gone OR count(*) OVER (PARTITION BY f.path) > 1 OR f.path IN (
        SELECT path FROM files WHERE dataset = $dataset AND file_id <= $last_file_id
            AND path IN (SELECT path FROM fresh)
    ) AS known,
    f.image_sha256 IN (
        SELECT image_sha256 FROM files WHERE dataset = $dataset AND file_id <= $last_file_id
            AND image_sha256 IN (SELECT image_sha256 FROM fresh)
    ) AS seen
FROM fresh AS f
JOIN images AS i ON i.sha256 = f.image_sha256
ORDER BY number;

-- name: gallery_changes
-- The images that rows of paths after a file_id are about, before or after, as `gallery_images` has them; number null: gone.
WITH touched AS (
    SELECT DISTINCT image_sha256 FROM files
    WHERE dataset = $dataset AND path IN (SELECT path FROM files WHERE dataset = $dataset AND file_id > $last_file_id)
),
own AS (
    SELECT * FROM files
    WHERE dataset = $dataset AND path IN (
        SELECT path FROM files WHERE dataset = $dataset AND image_sha256 IN (SELECT image_sha256 FROM touched)
    )
),
current AS (
    SELECT *, count(*) OVER (PARTITION BY image_sha256) AS paths FROM (
        SELECT *, min(file_id) OVER (PARTITION BY path) AS first_file_id FROM own
        QUALIFY row_number() OVER (PARTITION BY path ORDER BY file_id DESC) = 1
    )
    WHERE NOT gone
    QUALIFY row_number() OVER (PARTITION BY image_sha256 ORDER BY first_file_id) = 1
)
SELECT f.first_file_id AS number, f.file_id, t.image_sha256 AS sha256, f.file_name,
    if(i.exif_orientation >= 5, i.height_px, i.width_px) AS width_px,
    if(i.exif_orientation >= 5, i.width_px, i.height_px) AS height_px,
    i.size_bytes, i.format, i.has_alpha, f.license, f.source_url, f.paths,
    t.image_sha256 IN (SELECT image_sha256 FROM files WHERE dataset = $dataset AND file_id <= $last_file_id) AS seen
FROM touched AS t
JOIN images AS i ON i.sha256 = t.image_sha256
LEFT JOIN current AS f ON f.image_sha256 = t.image_sha256;

-- name: gallery_captions
-- The last revision of each image in each set, of those after a caption id.
SELECT c.set_name, c.image_sha256 AS sha256, c.caption_id, c.text, c.run_id
FROM captions AS c
JOIN (
    SELECT max(caption_id) AS caption_id
    FROM captions
    WHERE dataset = $dataset AND caption_id > $last_caption_id
    GROUP BY set_name, image_sha256
) AS latest ON latest.caption_id = c.caption_id
WHERE c.caption_id > $last_caption_id;

-- name: gallery_groups
-- The near-duplicate group of each image of a dataset that is in one.
SELECT image_sha256 AS sha256, representative_sha256 AS near_duplicate_of
FROM near_duplicates
WHERE dataset = $dataset;

-- name: gallery_metadata
-- What some rows of paths (rows: file_id) have at a JSON pointer of their metadata, as JSON; rows without are left out.
SELECT f.file_id, CAST(json_extract(f.metadata, $pointer) AS VARCHAR) AS value
FROM files AS f
WHERE f.dataset = $dataset AND json_extract(f.metadata, $pointer) IS NOT NULL
    AND f.file_id IN (SELECT file_id FROM rows);

-- name: caption_runs_of_dataset (kept)
-- What made the captions of a dataset, by run.
SELECT run_id, set_name, strategy, by_person, person
FROM caption_runs
WHERE dataset = $dataset
ORDER BY run_id;

-- name: captions_of_image
-- The last revision of an image in each set of a dataset, with what made it.
WITH own AS MATERIALIZED (  -- by the index; joined at once, the whole table would be read
    SELECT * FROM captions WHERE image_sha256 = $image_sha256 AND dataset = $dataset
)
SELECT c.set_name, c.caption_id, c.text, c.parent_id, c.run_id, rfc3339(c.captioned_at) AS captioned_at, r.strategy,
    r.strategy_version, CAST(r.options AS VARCHAR) AS options, r.model, r.model_revision, r.by_person, r.person,
    r.restored_from, r.restored_by
FROM own AS c
JOIN caption_runs AS r ON r.run_id = c.run_id
QUALIFY row_number() OVER (PARTITION BY c.set_name ORDER BY c.caption_id DESC) = 1
ORDER BY c.set_name;

-- name: file_row
-- A row of a path by its id, which has an index.
SELECT path, CAST(metadata AS VARCHAR) AS metadata FROM files WHERE file_id = $file_id;

-- name: names_of_image
-- Every file name that an image has in a dataset now, in the order its paths were first seen.
SELECT file_name
FROM (
    SELECT file_name, image_sha256, gone, min(file_id) OVER (PARTITION BY path) AS first_file_id
    FROM files
    WHERE dataset = $dataset AND path IN (
        SELECT path FROM files WHERE dataset = $dataset AND image_sha256 = $image_sha256
    )
    QUALIFY row_number() OVER (PARTITION BY path ORDER BY file_id DESC) = 1
)
WHERE NOT gone AND image_sha256 = $image_sha256
ORDER BY first_file_id;

-- name: group_of_image
-- The images of an image's near-duplicate group, the representative first, with their distance from it.
SELECT image_sha256, distance, image_sha256 = representative_sha256 AS representative
FROM near_duplicates
WHERE dataset = $dataset AND representative_sha256 = (
    SELECT representative_sha256 FROM near_duplicates WHERE dataset = $dataset AND image_sha256 = $image_sha256
)
ORDER BY representative DESC, distance, image_sha256;

-- name: strategies_of_dataset
-- What made captions of a dataset, each strategy once.
SELECT DISTINCT strategy
FROM caption_runs
WHERE dataset = $dataset
ORDER BY strategy;
