-- Written by `python -m curator.catalog.schema`: what all migrations together give. The reasons are in the migrations.

CREATE SEQUENCE access_token_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE annotation_choice_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE annotation_project_numbers INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE annotation_pull_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE annotation_push_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE annotation_revision_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE annotation_task_rows INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE caption_failure_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE caption_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE caption_run_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE ingest_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE preference_answer_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE preference_row_numbers INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE run_report_ids INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE SEQUENCE snapshot_rows INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START 1 NO CYCLE;

CREATE TABLE access_token_revocations (
    token_id BIGINT NOT NULL,
    person VARCHAR NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE access_tokens (
    token_id BIGINT PRIMARY KEY,
    person VARCHAR NOT NULL,
    "scope" VARCHAR NOT NULL,
    token_sha256 VARCHAR NOT NULL,
    made_by VARCHAR NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE
);

CREATE TABLE annotation_choices (
    choice_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    target_set VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    revision_id BIGINT,
    verdict VARCHAR,
    pull_id BIGINT NOT NULL
);

CREATE TABLE annotation_projects (
    project_key VARCHAR PRIMARY KEY,
    number BIGINT NOT NULL,
    dataset VARCHAR NOT NULL,
    target_set VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    person VARCHAR NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE annotation_pulls (
    pull_id BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    "rule" VARCHAR NOT NULL,
    watermark TIMESTAMP WITH TIME ZONE,
    swept BOOLEAN NOT NULL,
    counts JSON NOT NULL,
    person VARCHAR NOT NULL,
    pulled_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE annotation_pushes (
    push_id BIGINT NOT NULL,
    project_key VARCHAR NOT NULL,
    done BOOLEAN NOT NULL,
    url VARCHAR NOT NULL,
    label_studio_id BIGINT NOT NULL,
    model_version VARCHAR NOT NULL,
    condition VARCHAR,
    image_limit BIGINT,
    config_sha256 VARCHAR NOT NULL,
    images_url VARCHAR NOT NULL,
    counts JSON NOT NULL,
    person VARCHAR NOT NULL,
    pushed_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE annotation_revisions (
    revision_id BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    task_id BIGINT NOT NULL,
    annotation_id BIGINT NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    verdict VARCHAR,
    origin VARCHAR,
    "text" VARCHAR,
    lead_time_seconds DOUBLE,
    person VARCHAR NOT NULL,
    person_id BIGINT,
    model_version VARCHAR,
    parent_caption_id BIGINT,
    caption_id BIGINT,
    answer JSON NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    pull_id BIGINT NOT NULL
);

CREATE TABLE annotation_tasks (
    row_number BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    task_id BIGINT NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    data_digest VARCHAR NOT NULL,
    images_url VARCHAR NOT NULL,
    images_key VARCHAR NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    model_version VARCHAR NOT NULL,
    gone BOOLEAN NOT NULL,
    push_id BIGINT NOT NULL
);

CREATE TABLE caption_failures (
    failure_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    set_name VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    reason VARCHAR,
    run_id BIGINT NOT NULL,
    failed_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE caption_runs (
    run_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    set_name VARCHAR NOT NULL,
    strategy VARCHAR NOT NULL,
    strategy_version INTEGER NOT NULL,
    "options" JSON NOT NULL,
    model VARCHAR,
    model_revision VARCHAR,
    by_person BOOLEAN NOT NULL,
    person VARCHAR NOT NULL,
    restored_from VARCHAR,
    restored_by VARCHAR,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE caption_sources (
    run_id BIGINT NOT NULL,
    set_name VARCHAR NOT NULL,
    number INTEGER,
    last_caption_id BIGINT NOT NULL
);

CREATE TABLE captions (
    caption_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    set_name VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    "text" VARCHAR,
    inputs_digest VARCHAR NOT NULL,
    parent_id BIGINT,
    run_id BIGINT NOT NULL,
    captioned_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE datasets (
    "name" VARCHAR PRIMARY KEY,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE files (
    file_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    file_name VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    metadata JSON NOT NULL,
    source_url VARCHAR,
    license VARCHAR,
    gone BOOLEAN NOT NULL,
    ingest_id BIGINT NOT NULL
);

CREATE TABLE images (
    sha256 VARCHAR PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    width_px INTEGER NOT NULL,
    height_px INTEGER NOT NULL,
    format VARCHAR NOT NULL,
    has_alpha BOOLEAN NOT NULL,
    exif_orientation UTINYINT NOT NULL,
    phash UBIGINT NOT NULL
);

CREATE TABLE ingests (
    ingest_id BIGINT PRIMARY KEY,
    dataset VARCHAR NOT NULL,
    root VARCHAR NOT NULL,
    person VARCHAR NOT NULL,
    ingested_at TIMESTAMP WITH TIME ZONE NOT NULL,
    "options" JSON NOT NULL,
    counts JSON NOT NULL
);

CREATE TABLE metadata_files (
    dataset VARCHAR NOT NULL,
    root VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    gone BOOLEAN NOT NULL,
    ingest_id BIGINT NOT NULL
);

CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    "name" VARCHAR NOT NULL,
    applied_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE near_duplicates (
    dataset VARCHAR NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    representative_sha256 VARCHAR NOT NULL,
    "distance" UTINYINT NOT NULL
);

CREATE TABLE preference_answers (
    answer_id BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    task_id BIGINT NOT NULL,
    annotation_id BIGINT NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    place INTEGER,
    person VARCHAR NOT NULL,
    lead_time_seconds DOUBLE,
    updated_at VARCHAR NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE preference_projects (
    row_number BIGINT PRIMARY KEY,
    project_key VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    versions JSON NOT NULL,
    url VARCHAR,
    label_studio_id BIGINT,
    person VARCHAR NOT NULL,
    noted_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE preference_tasks (
    project_key VARCHAR NOT NULL,
    task_id BIGINT NOT NULL,
    image_sha256 VARCHAR NOT NULL,
    shown JSON NOT NULL
);

CREATE TABLE rejects (
    dataset VARCHAR NOT NULL,
    root VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    size_bytes BIGINT,
    mtime_ns BIGINT,
    resolved BOOLEAN NOT NULL,
    ingest_id BIGINT NOT NULL
);

CREATE TABLE run_reports (
    report_id BIGINT PRIMARY KEY,
    digest VARCHAR NOT NULL,
    run_key VARCHAR NOT NULL,
    "name" VARCHAR NOT NULL,
    snapshot_identity VARCHAR NOT NULL,
    captions VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    report JSON NOT NULL,
    person VARCHAR NOT NULL,
    posted_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE snapshots (
    row_number BIGINT PRIMARY KEY,
    "identity" VARCHAR NOT NULL,
    images_identity VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    folder VARCHAR NOT NULL,
    manifest JSON NOT NULL,
    size_bytes BIGINT NOT NULL,
    person VARCHAR NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE splits (
    dataset VARCHAR NOT NULL,
    representative_sha256 VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    assigned_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE TABLE versions (
    dataset VARCHAR NOT NULL,
    set_name VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    last_caption_id BIGINT NOT NULL,
    captions BIGINT NOT NULL,
    digest VARCHAR NOT NULL,
    message VARCHAR NOT NULL,
    person VARCHAR NOT NULL,
    committed_at TIMESTAMP WITH TIME ZONE NOT NULL
);

CREATE INDEX annotation_revisions_by_image ON annotation_revisions(image_sha256);

CREATE INDEX captions_by_image ON captions(image_sha256);

CREATE MACRO rfc3339(t) AS strftime(timezone('UTC', t), '%Y-%m-%dT%H:%M:%SZ');

CREATE MACRO rfc3339_us(t) AS strftime(timezone('UTC', t), '%Y-%m-%dT%H:%M:%S.%fZ');

CREATE VIEW current_files AS SELECT * EXCLUDE (revision) FROM (SELECT *, min(file_id) OVER (PARTITION BY dataset, path) AS first_file_id, row_number() OVER (PARTITION BY dataset, path ORDER BY file_id DESC) AS revision FROM files) WHERE ((revision = 1) AND (NOT gone));

CREATE VIEW dataset_images AS SELECT f.dataset, f.image_sha256, f.first_file_id, f.path, f.file_name, f.metadata, f.source_url, f.license, i.size_bytes, i.width_px, i.height_px, i.format, i.has_alpha, i.exif_orientation, i.phash FROM ((SELECT * FROM current_files QUALIFY (row_number() OVER (PARTITION BY dataset, image_sha256 ORDER BY first_file_id) = 1)) AS f INNER JOIN images AS i ON ((i.sha256 = f.image_sha256)));

CREATE VIEW current_annotations AS SELECT r.*, p.dataset, p.target_set FROM ((SELECT * FROM annotation_revisions QUALIFY (row_number() OVER (PARTITION BY project_key, annotation_id ORDER BY revision_id DESC) = 1)) AS r INNER JOIN annotation_projects AS p ON ((p.project_key = r.project_key)));

CREATE VIEW current_tasks AS SELECT * FROM annotation_tasks QUALIFY (row_number() OVER (PARTITION BY project_key, task_id ORDER BY row_number DESC) = 1);

CREATE VIEW current_choices AS SELECT * FROM annotation_choices QUALIFY (row_number() OVER (PARTITION BY dataset, target_set, image_sha256 ORDER BY choice_id DESC) = 1);
