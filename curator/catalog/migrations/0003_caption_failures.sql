-- Images that a strategy couldn't caption, and which captions captions were made of.

-- The highest failure_id of (dataset, set_name, image) holds; reason null: a later run put it right. A later revision of
-- the image in that set, such as a person's, puts it right too.
CREATE SEQUENCE caption_failure_ids;
CREATE TABLE caption_failures (
    failure_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    set_name VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    reason VARCHAR,                  -- one line for a person, the same for all images that fail alike
    run_id BIGINT NOT NULL,
    failed_at TIMESTAMPTZ NOT NULL
);

-- The other sets that the captions of a run were made of, each as it was at a caption id: an image's caption there is its
-- last revision up to that id.
CREATE TABLE caption_sources (
    run_id BIGINT NOT NULL,
    set_name VARCHAR NOT NULL,       -- of the same dataset
    number INTEGER,                  -- the version; null: the set as it was
    last_caption_id BIGINT NOT NULL
);
