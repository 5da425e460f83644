--! Queries on snapshots and the runs on them; methods in ../lineage.py.

-- name: snapshots (kept)
-- Every snapshot that is known, by content and folder, newest first.
SELECT identity, images_identity, dataset, folder, CAST(manifest AS VARCHAR) AS manifest, size_bytes, person,
    rfc3339(made_at) AS made_at
FROM snapshots
QUALIFY row_number() OVER (PARTITION BY identity, folder ORDER BY row_number DESC) = 1
ORDER BY row_number DESC;

-- name: add_snapshot
-- Notes a snapshot in a folder, unless it is noted with this very manifest.
INSERT INTO snapshots
SELECT nextval('snapshot_rows'), $identity, $images_identity, $dataset, $folder, $manifest, $size_bytes, $person, now()
WHERE NOT EXISTS (
    SELECT * FROM snapshots
    WHERE identity = $identity AND folder = $folder AND CAST(manifest AS VARCHAR) = $manifest
);

-- name: runs (kept)
-- Every run as it stands, the one that reported last first; of one snapshot, or of all where null.
SELECT digest, run_key, name, snapshot_identity, captions, status, json_extract_string(report, '$.snapshot.dataset') AS dataset,
    json_extract_string(report, '$.started_at') AS started_at, json_extract_string(report, '$.updated_at') AS updated_at,
    json_extract_string(report, '$.base.name') AS base,
    coalesce(json_extract_string(report, '$.config.method'), 'full') AS method,
    json_array_length(report, '$.epochs')::INTEGER AS epochs, json_array_length(report, '$.checkpoints')::INTEGER AS checkpoints,
    person, rfc3339(posted_at) AS posted_at
FROM run_reports
WHERE $snapshot_identity IS NULL OR snapshot_identity = $snapshot_identity
QUALIFY row_number() OVER (PARTITION BY run_key ORDER BY report_id DESC) = 1
ORDER BY report_id DESC;

-- name: run_report
-- One report by its digest, or a run's last one by its key.
SELECT digest, run_key, CAST(report AS VARCHAR) AS report, person, rfc3339(posted_at) AS posted_at
FROM run_reports
WHERE digest = $wanted OR run_key = $wanted
ORDER BY report_id DESC
LIMIT 1;

-- name: add_run_report
-- Keeps a report, unless it is the run's last one already.
INSERT INTO run_reports
SELECT nextval('run_report_ids'), $digest, $run_key, $run_name, $snapshot_identity, $captions, $status, $report, $person, now()
WHERE $digest IS DISTINCT FROM (
    SELECT digest FROM run_reports WHERE run_key = $run_key ORDER BY report_id DESC LIMIT 1
);
