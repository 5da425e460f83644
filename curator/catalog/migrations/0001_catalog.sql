-- Everything is append-only: a row is never updated. "Current" and "version n" are queries. No foreign keys: they make
-- DuckDB rigid. An image is its sha256; a caption revision is a row.

CREATE TABLE datasets (
    name VARCHAR PRIMARY KEY,
    created_at TIMESTAMPTZ NOT NULL
);

-- One row a finished walk over a folder; its counts are what `ingest` printed. An interrupted walk keeps its files and
-- leaves no row here, so an ingest_id may have none.
CREATE SEQUENCE ingest_ids;
CREATE TABLE ingests (
    ingest_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    root VARCHAR NOT NULL,
    person VARCHAR NOT NULL,
    ingested_at TIMESTAMPTZ NOT NULL,
    options JSON NOT NULL,           -- metadata, join_on, max_pixels
    counts JSON NOT NULL
);

-- What a picture is, whatever it is called and wherever it lies.
CREATE TABLE images (
    sha256 VARCHAR PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    width_px INTEGER NOT NULL,       -- as stored, before the EXIF orientation
    height_px INTEGER NOT NULL,
    format VARCHAR NOT NULL,         -- png, jpeg, webp, gif, bmp, tiff
    has_alpha BOOLEAN NOT NULL,
    exif_orientation UTINYINT NOT NULL,  -- 1 to 8, 1 where there is none
    phash UBIGINT NOT NULL           -- 64-bit DCT hash of the upright picture on white
);

-- Every path a picture was seen at, with the metadata that came with the path. A later row for the same (dataset, path)
-- replaces the earlier one; `gone` says a later walk no longer found it.
CREATE TABLE files (
    file_id BIGINT PRIMARY KEY,      -- ascending: a later row has a higher one
    dataset VARCHAR NOT NULL,
    path VARCHAR NOT NULL,           -- absolute
    file_name VARCHAR NOT NULL,      -- relative to the ingested folder, forward slashes
    image_sha256 VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    metadata JSON NOT NULL,          -- one object, {} where there is none
    source_url VARCHAR,
    license VARCHAR,
    gone BOOLEAN NOT NULL,
    ingest_id BIGINT NOT NULL
);

-- The near-duplicate group of each image of a dataset, named by its representative. Assigned once, never moved.
CREATE TABLE near_duplicates (
    dataset VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    representative_sha256 VARCHAR NOT NULL,
    distance UTINYINT NOT NULL       -- Hamming distance of the hashes, 0 for the representative itself
);

-- What of a folder couldn't be used, and why. A later row for the same (dataset, path, reason) replaces the earlier one;
-- `resolved` says a later walk no longer met it. Size and time are the file's, so that it isn't read again in vain.
CREATE TABLE rejects (
    dataset VARCHAR NOT NULL,
    root VARCHAR NOT NULL,           -- the ingested folder
    path VARCHAR NOT NULL,           -- the file, or the metadata file and its row: table.csv:12
    reason VARCHAR NOT NULL,         -- short code: truncated, not-an-image, ...
    detail VARCHAR NOT NULL,         -- one line for a person
    size_bytes BIGINT,
    mtime_ns BIGINT,
    resolved BOOLEAN NOT NULL,
    ingest_id BIGINT NOT NULL
);

-- The metadata tables and sidecars as the last finished ingest of a folder saw them: unchanged, they aren't read again.
CREATE TABLE metadata_files (
    dataset VARCHAR NOT NULL,
    root VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    gone BOOLEAN NOT NULL,
    ingest_id BIGINT NOT NULL
);

-- One row a caption run: what the captions of that run share.
CREATE SEQUENCE caption_run_ids;
CREATE TABLE caption_runs (
    run_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    set_name VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL,
    strategy_version INTEGER NOT NULL,
    options JSON NOT NULL,
    model VARCHAR,
    model_revision VARCHAR,
    by_person BOOLEAN NOT NULL,      -- the captions count as a person's: no strategy replaces them
    person VARCHAR NOT NULL,         -- whose captions they are, else who ran the strategy
    restored_from VARCHAR,           -- the version a restore took these from; the run is a copy of the one that made them
    restored_by VARCHAR,             -- who restored it
    started_at TIMESTAMPTZ NOT NULL
);

-- One row a caption revision; the highest caption_id of (dataset, set_name, image) is the current one.
CREATE SEQUENCE caption_ids;
CREATE TABLE captions (
    caption_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    set_name VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    text VARCHAR,                    -- null: taken out (metadata gone, or a restore to a version without it)
    inputs_digest VARCHAR NOT NULL,  -- of what the strategy read for this image, and of its options and version
    parent_id BIGINT,                -- the revision this one was made from
    run_id BIGINT NOT NULL,
    captioned_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX captions_by_image ON captions (image_sha256);

-- A version is everything in its set up to last_caption_id.
CREATE TABLE versions (
    dataset VARCHAR NOT NULL,
    set_name VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    last_caption_id BIGINT NOT NULL,
    captions BIGINT NOT NULL,
    digest VARCHAR NOT NULL,         -- sha256 over canonical JSON of the sorted [image sha256, text]
    message VARCHAR NOT NULL,
    person VARCHAR NOT NULL,
    committed_at TIMESTAMPTZ NOT NULL
);

-- Which split a near-duplicate group was given, once and for good: held-out never returns to train.
CREATE TABLE splits (
    dataset VARCHAR NOT NULL,
    representative_sha256 VARCHAR NOT NULL,
    split VARCHAR NOT NULL,          -- train or validation
    assigned_at TIMESTAMPTZ NOT NULL
);

-- Times leave the catalog as text: RFC 3339, UTC, with Z.
CREATE MACRO rfc3339(t) AS strftime(timezone('UTC', t), '%Y-%m-%dT%H:%M:%SZ');

-- The last row of each path that is still there; first_file_id is the path's first row, which keeps the order of paths
-- when a correction gives one a new row.
CREATE VIEW current_files AS
SELECT * EXCLUDE (revision) FROM (
    SELECT *,
        min(file_id) OVER (PARTITION BY dataset, path) AS first_file_id,
        row_number() OVER (PARTITION BY dataset, path ORDER BY file_id DESC) AS revision
    FROM files
)
WHERE revision = 1 AND NOT gone;

-- Each image of a dataset once, with its first path and that path's metadata.
CREATE VIEW dataset_images AS
SELECT f.dataset, f.image_sha256, f.first_file_id, f.path, f.file_name, f.metadata, f.source_url, f.license,
    i.size_bytes, i.width_px, i.height_px, i.format, i.has_alpha, i.exif_orientation, i.phash
FROM (
    SELECT * FROM current_files
    QUALIFY row_number() OVER (PARTITION BY dataset, image_sha256 ORDER BY first_file_id) = 1
) AS f
JOIN images AS i ON i.sha256 = f.image_sha256;
