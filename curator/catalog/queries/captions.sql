--! Queries on captions; methods in ../captions.py.

-- name: images_to_caption
-- Each image of a dataset once, in the order it was first seen, with the metadata values at JSON pointers and their types.
SELECT image_sha256, path, size_bytes, file_name, format,
    if(exif_orientation >= 5, height_px, width_px) AS width_px,
    if(exif_orientation >= 5, width_px, height_px) AS height_px,
    json_extract_string(metadata, $pointers) AS metadata_values,
    json_type(metadata, $pointers) AS metadata_types
FROM dataset_images
WHERE dataset = $dataset
ORDER BY first_file_id;

-- name: file_names_of_images
-- Every file name of each image of a dataset, in the order they were first seen.
SELECT image_sha256, list(file_name ORDER BY first_file_id) AS file_names
FROM current_files
WHERE dataset = $dataset
GROUP BY image_sha256;

-- name: metadata_fields
-- The names that occur in the metadata of a dataset's images, in the order they first occur.
SELECT field
FROM (
    SELECT json_keys(metadata) AS names, min(first_file_id) AS first_file_id
    FROM dataset_images
    WHERE dataset = $dataset
    GROUP BY names
) AS images, unnest(names) WITH ORDINALITY AS named(field, place)
GROUP BY field
ORDER BY min(row(first_file_id, place));

-- name: current_captions
-- The last revision of each image in a set, up to a caption id (null: all), with its run.
SELECT c.image_sha256, c.caption_id, c.text, c.inputs_digest, c.run_id, r.strategy, r.by_person, r.person
FROM captions AS c
JOIN (
    SELECT max(caption_id) AS caption_id
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name
        AND caption_id <= coalesce($last_caption_id, 9223372036854775807)
    GROUP BY image_sha256
) AS latest ON latest.caption_id = c.caption_id
JOIN caption_runs AS r ON r.run_id = c.run_id
ORDER BY c.image_sha256;

-- name: caption_texts
-- The caption of each image in a set as of a caption id (null: now), by image; images without one are left out.
SELECT c.image_sha256, c.text, c.caption_id
FROM captions AS c
JOIN (
    SELECT max(caption_id) AS caption_id
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name
        AND caption_id <= coalesce($last_caption_id, 9223372036854775807)
    GROUP BY image_sha256
) AS latest ON latest.caption_id = c.caption_id
WHERE c.text IS NOT NULL
ORDER BY c.image_sha256;

-- name: caption_differences
-- The images whose caption differs between the states of two sets (a caption id each), in the order captioned.
SELECT image_sha256, before.text AS before, after.text AS after
FROM (
    SELECT image_sha256, arg_max_null(text, caption_id) AS text, max(caption_id) AS caption_id
    FROM captions
    WHERE dataset = $before_dataset AND set_name = $before_set
        AND caption_id <= $before_caption_id
    GROUP BY image_sha256
) AS before
FULL JOIN (
    SELECT image_sha256, arg_max_null(text, caption_id) AS text, max(caption_id) AS caption_id
    FROM captions
    WHERE dataset = $after_dataset AND set_name = $after_set
        AND caption_id <= $after_caption_id
    GROUP BY image_sha256
) AS after USING (image_sha256)
WHERE before.text IS DISTINCT FROM after.text
ORDER BY greatest(before.caption_id, after.caption_id);

-- name: revision_differences
-- The same for two states of one set: only images with a revision between the two can differ.
WITH between_them AS (
    SELECT DISTINCT image_sha256
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name
        AND caption_id > least($before_caption_id, $after_caption_id)
        AND caption_id <= greatest($before_caption_id, $after_caption_id)
),
revisions AS (
    SELECT image_sha256, caption_id, text
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND image_sha256 IN (SELECT image_sha256 FROM between_them)
)
SELECT image_sha256, before.text AS before, after.text AS after
FROM (
    SELECT image_sha256, arg_max_null(text, caption_id) AS text, max(caption_id) AS caption_id
    FROM revisions
    WHERE caption_id <= $before_caption_id
    GROUP BY image_sha256
) AS before
FULL JOIN (
    SELECT image_sha256, arg_max_null(text, caption_id) AS text, max(caption_id) AS caption_id
    FROM revisions
    WHERE caption_id <= $after_caption_id
    GROUP BY image_sha256
) AS after USING (image_sha256)
WHERE before.text IS DISTINCT FROM after.text
ORDER BY greatest(before.caption_id, after.caption_id);

-- name: revision_counts (kept)
-- How many images' captions were added, removed and changed in a set from one caption id to a later one.
WITH after AS (
    SELECT image_sha256, arg_max_null(text, caption_id) AS text
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND caption_id > $before_caption_id AND caption_id <= $after_caption_id
    GROUP BY image_sha256
),
before AS (
    SELECT image_sha256, arg_max_null(text, caption_id) AS text
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND caption_id <= $before_caption_id
        AND image_sha256 IN (SELECT image_sha256 FROM after)
    GROUP BY image_sha256
)
SELECT count(*) FILTER (b.text IS NULL AND a.text IS NOT NULL) AS added,
    count(*) FILTER (b.text IS NOT NULL AND a.text IS NULL) AS removed,
    count(*) FILTER (b.text <> a.text) AS changed
FROM after AS a
LEFT JOIN before AS b USING (image_sha256);

-- name: caption_sets (kept)
-- Every caption set and the id of its last revision.
SELECT dataset, set_name, max(caption_id) AS last_caption_id
FROM captions
GROUP BY dataset, set_name
ORDER BY dataset, set_name;

-- name: caption_count (kept)
-- How many images have a caption in a set as of a caption id.
SELECT count(*) AS captions
FROM (
    SELECT arg_max(text IS NOT NULL, caption_id) AS has_one
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND caption_id <= $last_caption_id
    GROUP BY image_sha256
)
WHERE has_one;

-- name: captions_without_image
-- How many captions of a set, as of a caption id, are of images that its dataset has no file of any more.
SELECT count(*) AS captions
FROM (
    SELECT image_sha256, arg_max(text IS NOT NULL, caption_id) AS has_one
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND caption_id <= $last_caption_id
    GROUP BY image_sha256
)
WHERE has_one AND image_sha256 NOT IN (SELECT image_sha256 FROM current_files WHERE dataset = $dataset);

-- name: reserve_caption_run
-- The id of the next caption run.
SELECT nextval('caption_run_ids') AS run_id;

-- name: add_captions
-- Adds what a caption run made: revisions (image_sha256, text, inputs_digest, parent_id), failures (image_sha256, reason:
-- null where one was put right), and with the first of them the run and its sources (set_name, number, last_caption_id).
INSERT INTO caption_sources
SELECT $run_id, set_name, number, last_caption_id FROM sources
WHERE NOT EXISTS (SELECT * FROM caption_runs WHERE run_id = $run_id);
INSERT INTO caption_runs
SELECT $run_id, $dataset, $set_name, $strategy, $strategy_version, $options, $model, $model_revision, $by_person,
    $person, $restored_from, $restored_by, now()
WHERE NOT EXISTS (SELECT * FROM caption_runs WHERE run_id = $run_id);
INSERT INTO captions
SELECT nextval('caption_ids'), $dataset, $set_name, image_sha256, text, inputs_digest, parent_id, $run_id, now()
FROM rows;
INSERT INTO caption_failures
SELECT nextval('caption_failure_ids'), $dataset, $set_name, image_sha256, reason, $run_id, now()
FROM failures;

-- name: restore_captions
-- Adds revisions (image_sha256, text, inputs_digest, parent_id, run_id), each new run_id a copy of the run old_run_id.
INSERT INTO caption_runs
SELECT n.run_id, r.dataset, r.set_name, r.strategy, r.strategy_version, r.options, r.model, r.model_revision, r.by_person,
    r.person, $restored_from, $restored_by, now()
FROM (SELECT DISTINCT run_id, old_run_id FROM rows) AS n
JOIN caption_runs AS r ON r.run_id = n.old_run_id
ORDER BY n.run_id;
INSERT INTO caption_sources
SELECT n.run_id, s.set_name, s.number, s.last_caption_id
FROM (SELECT DISTINCT run_id, old_run_id FROM rows) AS n
JOIN caption_sources AS s ON s.run_id = n.old_run_id;
INSERT INTO captions
SELECT nextval('caption_ids'), $dataset, $set_name, image_sha256, text, inputs_digest, parent_id, run_id, now()
FROM rows;

-- name: standing_failures
-- The images that a strategy couldn't caption the last time: of a dataset and a set, or of all where null.
WITH failing AS (
    SELECT f.*, r.strategy
    FROM (
        SELECT * FROM caption_failures
        WHERE ($dataset IS NULL OR dataset = $dataset) AND ($set_name IS NULL OR set_name = $set_name)
        QUALIFY row_number() OVER (PARTITION BY dataset, set_name, image_sha256 ORDER BY failure_id DESC) = 1
    ) AS f
    JOIN caption_runs AS r ON r.run_id = f.run_id
    WHERE f.reason IS NOT NULL AND NOT EXISTS (
        SELECT * FROM captions AS c
        WHERE c.image_sha256 = f.image_sha256 AND c.dataset = f.dataset AND c.set_name = f.set_name
            AND c.captioned_at > f.failed_at
    )
),
-- Their paths alone, as current_files has them: the view would go over every path of every dataset.
paths AS (
    SELECT dataset, image_sha256, file_name, file_id, gone FROM files
    WHERE path IN (SELECT path FROM files WHERE image_sha256 IN (SELECT image_sha256 FROM failing))
    QUALIFY row_number() OVER (PARTITION BY dataset, path ORDER BY file_id DESC) = 1
)
SELECT f.dataset, f.set_name, f.image_sha256, arg_min(p.file_name, p.file_id) AS file_name, f.reason, f.strategy,
    rfc3339(f.failed_at) AS failed_at
FROM failing AS f
JOIN paths AS p ON p.dataset = f.dataset AND p.image_sha256 = f.image_sha256 AND NOT p.gone
GROUP BY ALL
ORDER BY f.dataset, f.set_name, f.reason, min(p.file_id);

-- name: runs_of_set
-- The runs that a set has captions of, oldest first, with what decided what they wrote.
SELECT run_id, strategy, strategy_version, CAST(options AS VARCHAR) AS options, model, model_revision
FROM caption_runs
WHERE dataset = $dataset AND set_name = $set_name
ORDER BY run_id;

-- name: sources_of_sets
-- Which sets of a dataset have captions now that were made of which others as they were then, not of a version.
SELECT DISTINCT r.set_name, s.set_name AS source
FROM caption_sources AS s
JOIN caption_runs AS r ON r.run_id = s.run_id
JOIN (
    SELECT DISTINCT arg_max(run_id, caption_id) AS run_id
    FROM captions
    WHERE dataset = $dataset
    GROUP BY set_name, image_sha256
) AS latest ON latest.run_id = r.run_id
WHERE s.number IS NULL
ORDER BY r.set_name, source;

-- name: find_images
-- The images, of any dataset, that a person may mean by a sha256 prefix, a file name, its last part, or a path.
SELECT DISTINCT dataset, image_sha256, file_name, path
FROM files
WHERE starts_with(image_sha256, lower($text)) AND length($text) >= 6
    OR file_name = $text OR path = $text OR ends_with(file_name, '/' || $text)
ORDER BY dataset, file_name, path;

-- name: image_history
-- Every revision an image ever had, in every set, oldest first within each.
SELECT c.dataset, c.set_name, c.caption_id, c.text, c.parent_id, c.inputs_digest, rfc3339(c.captioned_at) AS captioned_at,
    r.strategy, r.strategy_version, CAST(r.options AS VARCHAR) AS options, r.model, r.model_revision, r.by_person,
    r.person, r.restored_from, r.restored_by,
    list(v.number ORDER BY v.number) FILTER (WHERE v.number IS NOT NULL) AS versions,
    (SELECT list({'set_name': s.set_name, 'number': s.number, 'last_caption_id': s.last_caption_id})
        FROM caption_sources AS s WHERE s.run_id = c.run_id) AS sources
FROM (
    SELECT *, lead(caption_id) OVER (PARTITION BY dataset, set_name ORDER BY caption_id) AS next_caption_id
    FROM captions
    WHERE image_sha256 = $image_sha256
) AS c
JOIN caption_runs AS r ON r.run_id = c.run_id
LEFT JOIN versions AS v ON v.dataset = c.dataset AND v.set_name = c.set_name AND v.last_caption_id >= c.caption_id
    AND v.last_caption_id < coalesce(c.next_caption_id, 9223372036854775807)
GROUP BY ALL
ORDER BY c.dataset, c.set_name, c.caption_id;

-- name: names_of_images
-- A file name for each of some images (rows: image_sha256) of a dataset, also of those that are gone.
SELECT image_sha256, arg_min(file_name, file_id) AS file_name
FROM files
WHERE dataset = $dataset AND image_sha256 IN (SELECT image_sha256 FROM rows)
GROUP BY image_sha256;

-- name: revise_captions
-- Adds revisions (image_sha256, text, inputs_digest, parent_id) of one run of a person's, but of those images alone whose
-- last revision is still parent_id (null: there is none).
INSERT INTO captions
SELECT nextval('caption_ids'), $dataset, $set_name, r.image_sha256, r.text, r.inputs_digest, r.parent_id, $run_id, now()
FROM rows AS r
LEFT JOIN (
    SELECT image_sha256, max(caption_id) AS caption_id
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND image_sha256 IN (SELECT image_sha256 FROM rows)
    GROUP BY image_sha256
) AS latest ON latest.image_sha256 = r.image_sha256
WHERE latest.caption_id IS NOT DISTINCT FROM r.parent_id;
INSERT INTO caption_runs
SELECT $run_id, $dataset, $set_name, $strategy, 1, $options, NULL, NULL, true, $person, NULL, NULL, now()
WHERE EXISTS (SELECT * FROM captions WHERE run_id = $run_id);

-- name: captions_of_run
-- The revisions that a run made in a set, what each replaced, and whether it is still the last one.
WITH own AS (
    SELECT * FROM captions WHERE run_id = $run_id AND dataset = $dataset AND set_name = $set_name
),
latest AS (
    SELECT image_sha256, max(caption_id) AS caption_id
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND image_sha256 IN (SELECT image_sha256 FROM own)
    GROUP BY image_sha256
)
SELECT o.image_sha256, o.caption_id, o.text, o.inputs_digest, o.parent_id, p.text AS parent_text,
    p.inputs_digest AS parent_inputs_digest, p.run_id AS parent_run_id, o.caption_id = l.caption_id AS current
FROM own AS o
JOIN latest AS l ON l.image_sha256 = o.image_sha256
LEFT JOIN captions AS p ON p.caption_id = o.parent_id
ORDER BY o.caption_id;

-- name: captions_of_images
-- The last revision in a set of each of some images (rows: image_sha256), and whose it is.
SELECT c.image_sha256, c.caption_id, c.text, r.by_person, r.person
FROM (
    SELECT image_sha256, caption_id, text, run_id
    FROM captions
    WHERE dataset = $dataset AND set_name = $set_name AND image_sha256 IN (SELECT image_sha256 FROM rows)
    QUALIFY row_number() OVER (PARTITION BY image_sha256 ORDER BY caption_id DESC) = 1
) AS c
JOIN caption_runs AS r ON r.run_id = c.run_id
ORDER BY c.image_sha256;
