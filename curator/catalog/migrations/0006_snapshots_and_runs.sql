-- What was made of the captions: snapshots (`curator snapshot`), and the runs that trainers report (`trainer report`).
-- Append-only: of rows with the same key the last one holds.

-- A snapshot in a folder. The same content may be in several folders; the manifest is the folder's.
CREATE SEQUENCE snapshot_rows;
CREATE TABLE snapshots (
    row_number BIGINT PRIMARY KEY,
    identity VARCHAR NOT NULL,
    images_identity VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL,
    folder VARCHAR NOT NULL,         -- absolute, on the machine that made it
    manifest JSON NOT NULL,
    size_bytes BIGINT NOT NULL,      -- of the images
    person VARCHAR NOT NULL,
    made_at TIMESTAMPTZ NOT NULL
);

-- A run report as it was posted. A run posts one a checkpoint: the highest report_id of a run_key is how it stands.
CREATE SEQUENCE run_report_ids;
CREATE TABLE run_reports (
    report_id BIGINT PRIMARY KEY,
    digest VARCHAR NOT NULL,         -- sha256 over canonical JSON of the report
    run_key VARCHAR NOT NULL,        -- which run: over name, snapshot, config digest and start
    name VARCHAR NOT NULL,
    snapshot_identity VARCHAR NOT NULL,
    captions VARCHAR NOT NULL,       -- the track, or mix of tracks
    status VARCHAR NOT NULL,
    report JSON NOT NULL,
    person VARCHAR NOT NULL,         -- whose token
    posted_at TIMESTAMPTZ NOT NULL
);
