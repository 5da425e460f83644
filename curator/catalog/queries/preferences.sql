--! Queries on blind comparisons of caption sets; methods in ../preferences.py.

-- name: preference_projects
-- Every comparison as it stands, oldest first.
SELECT project_key, dataset, versions, url, label_studio_id
FROM preference_projects
QUALIFY row_number() OVER (PARTITION BY project_key ORDER BY row_number DESC) = 1
ORDER BY min(row_number) OVER (PARTITION BY project_key);

-- name: add_preference_project
-- Notes a comparison that is about to be made, or where it is now.
INSERT INTO preference_projects
SELECT nextval('preference_row_numbers'), $project_key, $dataset, $versions, $url, $label_studio_id, $person, now();

-- name: preference_tasks
-- What each task of a comparison shows, by task.
SELECT task_id, image_sha256, shown FROM preference_tasks WHERE project_key = $project_key ORDER BY task_id;

-- name: add_preference_tasks
-- Notes what new tasks show.
INSERT INTO preference_tasks SELECT $project_key, task_id, image_sha256, shown FROM rows;

-- name: preference_answers
-- Every answer of a comparison as it stands, by annotation; deleted ones too.
SELECT task_id, annotation_id, image_sha256, outcome, place, person, lead_time_seconds, updated_at
FROM preference_answers
WHERE project_key = $project_key
QUALIFY row_number() OVER (PARTITION BY annotation_id ORDER BY answer_id DESC) = 1
ORDER BY annotation_id;

-- name: add_preference_answers
-- Adds revisions of answers.
INSERT INTO preference_answers
SELECT nextval('preference_answer_ids'), $project_key, task_id, annotation_id, image_sha256, outcome, place, person,
    lead_time_seconds, updated_at, now()
FROM rows;
