-- Blind comparisons of caption sets in Label Studio: `curator annotate prefer`. Append-only: of rows with the same key
-- the last one holds.

-- A comparison, its images and its project there. The key is noted before the project is made, and stands in its
-- description; it also shuffles what people see, so it never leaves with a task.
CREATE SEQUENCE preference_row_numbers;
CREATE TABLE preference_projects (
    row_number BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    versions JSON NOT NULL,          -- what is compared: dataset/set@n, sorted
    url VARCHAR,                     -- of Label Studio, and the project's number there; null until it is made
    label_studio_id BIGINT,
    person VARCHAR NOT NULL,
    noted_at TIMESTAMPTZ NOT NULL
);

-- What each task shows: the versions in the order shown, so that an answer is read right whatever becomes of the task.
CREATE TABLE preference_tasks (
    project_key VARCHAR NOT NULL,
    task_id BIGINT NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    shown JSON NOT NULL
);

-- Every revision of every answer seen. The highest answer_id of (project_key, annotation_id) is how it stands.
CREATE SEQUENCE preference_answer_ids;
CREATE TABLE preference_answers (
    answer_id BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    task_id BIGINT NOT NULL,
    annotation_id BIGINT NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,        -- chosen, same, skipped, unreadable, deleted
    place INTEGER,                   -- chosen: its place among those shown, from 0
    person VARCHAR NOT NULL,         -- login
    lead_time_seconds DOUBLE,
    updated_at VARCHAR NOT NULL,     -- Label Studio's time
    seen_at TIMESTAMPTZ NOT NULL
);
