-- What people did in Label Studio, and what was sent there. Append-only like the rest: of rows with the same key the last
-- one holds. Label Studio keeps no history, so every revision of every annotation that a pull saw is a row here; its
-- caption is a revision in `captions`, written in the same transaction.

-- A Label Studio project that refines captions of a dataset into a set. The key is written here before the project is
-- made, and stands in its description there: a push that was killed in between finds it again.
CREATE SEQUENCE annotation_project_numbers;
CREATE TABLE annotation_projects (
    project_key VARCHAR PRIMARY KEY,
    number BIGINT NOT NULL,          -- ascending; of (dataset, target_set, title) the highest is the current one
    dataset VARCHAR NOT NULL,
    target_set VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    person VARCHAR NOT NULL,
    made_at TIMESTAMPTZ NOT NULL
);

-- Two rows a push: as it began, and as it ended. One that only began was interrupted.
CREATE SEQUENCE annotation_push_ids;
CREATE TABLE annotation_pushes (
    push_id BIGINT NOT NULL,
    project_key VARCHAR NOT NULL,
    done BOOLEAN NOT NULL,
    url VARCHAR NOT NULL,            -- of Label Studio
    label_studio_id BIGINT NOT NULL, -- of the project there
    model_version VARCHAR NOT NULL,  -- whose captions are proposed: dataset/set@n
    condition VARCHAR,               -- --where, and --limit below: which images; remembered by the next push
    image_limit BIGINT,
    config_sha256 VARCHAR NOT NULL,  -- of the labeling config it set
    images_url VARCHAR NOT NULL,     -- where the previews are served
    counts JSON NOT NULL,
    person VARCHAR NOT NULL,
    pushed_at TIMESTAMPTZ NOT NULL
);

-- What each task holds, as last sent; `gone` says that Label Studio no longer has it.
CREATE SEQUENCE annotation_task_rows;
CREATE TABLE annotation_tasks (
    row_number BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    task_id BIGINT NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    data_digest VARCHAR NOT NULL,    -- of all its data but the image's address
    images_url VARCHAR NOT NULL,     -- where its image's address leads, until when, and the key that signed it
    images_key VARCHAR NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    model_version VARCHAR NOT NULL,  -- the caption proposed
    gone BOOLEAN NOT NULL,
    push_id BIGINT NOT NULL
);

-- One row a page of tasks that a pull read: how far it came, and the rule that picked one of several annotations.
CREATE SEQUENCE annotation_pull_ids;
CREATE TABLE annotation_pulls (
    pull_id BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,           -- latest, or reviewer=NAME
    watermark TIMESTAMPTZ,           -- every change of a task up to here was seen; null: nothing was
    swept BOOLEAN NOT NULL,          -- every task that Label Studio has was looked for
    counts JSON NOT NULL,
    person VARCHAR NOT NULL,
    pulled_at TIMESTAMPTZ NOT NULL
);

-- Every revision of every annotation seen. The highest revision_id of (project_key, annotation_id) is how it stands.
CREATE SEQUENCE annotation_revision_ids;
CREATE TABLE annotation_revisions (
    revision_id BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    task_id BIGINT NOT NULL,
    annotation_id BIGINT NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,        -- captioned, rejected, emptied, skipped, unreadable, deleted
    verdict VARCHAR,                 -- good, fixed, reject
    origin VARCHAR,                  -- accepted, edited, written
    text VARCHAR,                    -- what stood in the box, also where it is no caption (a skip)
    lead_time_seconds DOUBLE,
    person VARCHAR NOT NULL,         -- login, or what could be told of somebody who was removed
    person_id BIGINT,                -- Label Studio's number of them
    model_version VARCHAR,           -- what had been proposed
    parent_caption_id BIGINT,        -- the revision in `captions` that had been proposed
    caption_id BIGINT,               -- the revision in `captions` that this one made; null where it is no caption
    answer JSON NOT NULL,            -- the annotation's result as Label Studio gave it
    created_at TIMESTAMPTZ NOT NULL, -- Label Studio's times
    updated_at TIMESTAMPTZ NOT NULL,
    pull_id BIGINT NOT NULL
);
CREATE INDEX annotation_revisions_by_image ON annotation_revisions (image_sha256);

-- Which annotation speaks for an image; the highest choice_id of (dataset, target_set, image) holds. revision_id null: none.
CREATE SEQUENCE annotation_choice_ids;
CREATE TABLE annotation_choices (
    choice_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    target_set VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    revision_id BIGINT,
    verdict VARCHAR,
    pull_id BIGINT NOT NULL
);

-- Label Studio's times to the microsecond, in the one form its filters take.
CREATE MACRO rfc3339_us(t) AS strftime(timezone('UTC', t), '%Y-%m-%dT%H:%M:%S.%fZ');

-- How each annotation stands.
CREATE VIEW current_annotations AS
SELECT r.*, p.dataset, p.target_set
FROM (
    SELECT * FROM annotation_revisions
    QUALIFY row_number() OVER (PARTITION BY project_key, annotation_id ORDER BY revision_id DESC) = 1
) AS r
JOIN annotation_projects AS p ON p.project_key = r.project_key;

-- The tasks of each project as last seen.
CREATE VIEW current_tasks AS
SELECT * FROM annotation_tasks
QUALIFY row_number() OVER (PARTITION BY project_key, task_id ORDER BY row_number DESC) = 1;

-- Which annotation speaks for each image now.
CREATE VIEW current_choices AS
SELECT * FROM annotation_choices
QUALIFY row_number() OVER (PARTITION BY dataset, target_set, image_sha256 ORDER BY choice_id DESC) = 1;
