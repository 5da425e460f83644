--! Queries on Label Studio's projects, tasks and annotations; methods in ../annotations.py.

-- name: annotation_projects
-- Every Label Studio project, oldest first, with its last push and its last pull; those of earlier ones are in the tables.
SELECT p.project_key, p.dataset, p.target_set, p.title, rfc3339(p.made_at) AS made_at,
    p.number = max(p.number) OVER (PARTITION BY p.dataset, p.target_set, p.title) AS current,
    s.push_id, s.done, s.url, s.label_studio_id, s.model_version, s.condition, s.image_limit, s.config_sha256, s.images_url,
    rfc3339(s.pushed_at) AS pushed_at,
    l.rule, rfc3339_us(l.watermark) AS watermark, rfc3339(l.pulled_at) AS pulled_at, rfc3339(w.swept_at) AS swept_at
FROM annotation_projects AS p
LEFT JOIN (
    SELECT * FROM annotation_pushes
    QUALIFY row_number() OVER (PARTITION BY project_key ORDER BY push_id DESC, done DESC) = 1
) AS s ON s.project_key = p.project_key
LEFT JOIN (
    SELECT * FROM annotation_pulls
    QUALIFY row_number() OVER (PARTITION BY project_key ORDER BY pull_id DESC) = 1
) AS l ON l.project_key = p.project_key
LEFT JOIN (
    SELECT project_key, max(pulled_at) FILTER (WHERE swept) AS swept_at FROM annotation_pulls GROUP BY project_key
) AS w ON w.project_key = p.project_key
ORDER BY p.number;

-- name: add_annotation_project
-- Notes a project that is about to be made.
INSERT INTO annotation_projects
SELECT $project_key, nextval('annotation_project_numbers'), $dataset, $target_set, $title, $person, now();

-- name: reserve_annotation_push
-- The id of the next push.
SELECT nextval('annotation_push_ids') AS push_id;

-- name: add_annotation_push
-- Notes that a push begins, or is done.
INSERT INTO annotation_pushes
SELECT $push_id, $project_key, $done, $url, $label_studio_id, $model_version, $condition, $image_limit, $config_sha256,
    $images_url, $counts, $person, now();

-- name: annotation_tasks
-- The tasks of a project as last seen, also those that are gone, by task.
SELECT task_id, image_sha256, data_digest, images_url, images_key, rfc3339(expires_at) AS expires_at, model_version, gone
FROM current_tasks
WHERE project_key = $project_key
ORDER BY task_id;

-- name: add_annotation_tasks
-- Notes what tasks hold now (rows: task_id, image_sha256, data_digest, images_url, images_key, expires_at, model_version, gone).
INSERT INTO annotation_tasks
SELECT nextval('annotation_task_rows'), $project_key, task_id, image_sha256, data_digest, images_url, images_key,
    CAST(expires_at AS TIMESTAMPTZ), model_version, gone, $push_id
FROM rows;

-- name: annotations_of_tasks
-- How each annotation of some tasks (rows: task_id) stands.
SELECT revision_id, task_id, annotation_id, image_sha256, outcome, verdict, text, person, person_id, model_version,
    parent_caption_id, caption_id, rfc3339_us(created_at) AS created_at, rfc3339_us(updated_at) AS updated_at
FROM current_annotations
WHERE project_key = $project_key AND task_id IN (SELECT task_id FROM rows)
ORDER BY revision_id;

-- name: annotated_tasks
-- How many annotations each task of a project has that Label Studio counts too: not skipped, and the task is there.
SELECT a.task_id, count(*) FILTER (WHERE a.outcome NOT IN ('skipped', 'deleted')) AS annotations
FROM current_annotations AS a
LEFT JOIN current_tasks AS t ON t.project_key = a.project_key AND t.task_id = a.task_id
WHERE a.project_key = $project_key AND NOT coalesce(t.gone, false)
GROUP BY a.task_id
ORDER BY a.task_id;

-- name: annotations_of_images
-- How each annotation of some images (rows: image_sha256) stands, in every project that refines them into a set.
SELECT a.revision_id, a.project_key, a.task_id, a.annotation_id, a.image_sha256, a.outcome, a.verdict, a.text, a.person,
    a.caption_id, rfc3339_us(a.updated_at) AS updated_at
FROM current_annotations AS a
WHERE a.dataset = $dataset AND a.target_set = $target_set AND a.image_sha256 IN (SELECT image_sha256 FROM rows)
ORDER BY a.revision_id;

-- name: choices_of_images
-- Which annotation speaks for each of some images (rows: image_sha256) in a set.
SELECT image_sha256, revision_id, verdict
FROM current_choices
WHERE dataset = $dataset AND target_set = $target_set AND image_sha256 IN (SELECT image_sha256 FROM rows)
ORDER BY image_sha256;

-- name: contested_images
-- The images that several annotations could speak for in a set.
SELECT image_sha256
FROM current_annotations
WHERE dataset = $dataset AND target_set = $target_set AND outcome IN ('captioned', 'rejected')
GROUP BY image_sha256
HAVING count(*) > 1
ORDER BY image_sha256;

-- name: annotation_people
-- The name last known of each of Label Studio's users, by their number, of all projects at the same address.
SELECT person_id, arg_max(person, revision_id) AS person
FROM annotation_revisions
WHERE person_id IS NOT NULL AND project_key = $project_key
GROUP BY person_id
ORDER BY person_id;

-- name: reserve_caption_ids
-- Ids for as many new caption revisions, ascending.
SELECT nextval('caption_ids') AS caption_id FROM range($count) ORDER BY 1;

-- name: reserve_revision_ids
-- Ids for as many new annotation revisions, ascending.
SELECT nextval('annotation_revision_ids') AS revision_id FROM range($count) ORDER BY 1;

-- name: add_annotation_page
-- Adds a page of what a pull saw: runs, captions, annotation revisions, choices, tasks that are gone, and how far it came.
INSERT INTO caption_runs
SELECT run_id, $dataset, $target_set, strategy, strategy_version, options, NULL, NULL, true, person, NULL, NULL, now()
FROM runs ORDER BY run_id;
INSERT INTO captions
SELECT caption_id, $dataset, $target_set, image_sha256, text, inputs_digest, parent_id, run_id,
    CAST(captioned_at AS TIMESTAMPTZ)
FROM captions_made ORDER BY caption_id;
INSERT INTO annotation_pulls
SELECT nextval('annotation_pull_ids'), $project_key, $rule, CAST($watermark AS TIMESTAMPTZ), $swept, $counts, $person, now();
INSERT INTO annotation_revisions
SELECT revision_id, $project_key, task_id, annotation_id, image_sha256, outcome, verdict, origin, text, lead_time_seconds,
    person, person_id, model_version, parent_caption_id, caption_id, answer, CAST(created_at AS TIMESTAMPTZ),
    CAST(updated_at AS TIMESTAMPTZ), currval('annotation_pull_ids')
FROM revisions ORDER BY revision_id;
INSERT INTO annotation_choices
SELECT nextval('annotation_choice_ids'), $dataset, $target_set, image_sha256, revision_id, verdict,
    currval('annotation_pull_ids')
FROM choices ORDER BY image_sha256;
INSERT INTO annotation_tasks
SELECT nextval('annotation_task_rows'), project_key, task_id, image_sha256, data_digest, images_url, images_key, expires_at,
    model_version, true, push_id
FROM current_tasks
WHERE project_key = $project_key AND NOT gone AND task_id IN (SELECT task_id FROM gone_tasks)
ORDER BY task_id;

-- name: annotation_counts
-- How many annotations of a project stand how (outcome, verdict, origin), and on how many images.
SELECT outcome, verdict, origin, count(*) AS annotations, count(DISTINCT image_sha256) AS images
FROM current_annotations
WHERE project_key = $project_key
GROUP BY outcome, verdict, origin
ORDER BY outcome, verdict, origin;

-- name: answered_images
-- The images of a dataset that an annotation of a project of this title speaks for in a set, with its verdict.
SELECT c.image_sha256, c.verdict
FROM current_choices AS c
JOIN annotation_revisions AS r ON r.revision_id = c.revision_id
JOIN annotation_projects AS p ON p.project_key = r.project_key
WHERE c.dataset = $dataset AND c.target_set = $target_set AND p.title = $title
ORDER BY c.image_sha256;

-- name: emptied_tasks
-- The tasks of a project with an annotation whose caption was emptied.
SELECT DISTINCT task_id
FROM current_annotations
WHERE project_key = $project_key AND outcome = 'emptied'
ORDER BY task_id;

-- name: rejected_images
-- The images of a dataset that a person rejected, in any set, and that nobody took back.
SELECT DISTINCT image_sha256
FROM current_choices
WHERE dataset = $dataset AND verdict = 'reject'
ORDER BY image_sha256;

-- name: proposals
-- Every annotation of a caption that was proposed, as it stands: what was proposed by which strategy, what became of it.
SELECT a.image_sha256, a.model_version, r.strategy, c.text AS proposed, a.text, a.outcome, a.lead_time_seconds, a.person
FROM current_annotations AS a
JOIN captions AS c ON c.caption_id = a.parent_caption_id
JOIN caption_runs AS r ON r.run_id = c.run_id
WHERE a.dataset = $dataset AND a.outcome <> 'deleted'
ORDER BY a.revision_id;

-- name: captions_by_person
-- The captions that people gave the images of a dataset in a set, where several people did: each person's last.
SELECT image_sha256, person, text
FROM (
    SELECT image_sha256, person, text FROM current_annotations
    WHERE dataset = $dataset AND target_set = $target_set AND outcome = 'captioned'
    QUALIFY row_number() OVER (PARTITION BY image_sha256, person ORDER BY updated_at DESC, revision_id DESC) = 1
)
QUALIFY count(*) OVER (PARTITION BY image_sha256) > 1
ORDER BY image_sha256, person;

-- name: annotation_progress
-- What each person answered in a project, as it stands. Accepted: the caption that was proposed, word for word.
SELECT a.person, count(DISTINCT a.task_id) AS tasks,
    count(*) FILTER (WHERE a.outcome = 'captioned' AND a.text IS NOT DISTINCT FROM c.text) AS accepted,
    count(*) FILTER (WHERE a.outcome = 'captioned' AND a.text IS DISTINCT FROM c.text) AS edited,
    count(*) FILTER (WHERE a.outcome = 'rejected') AS rejected,
    count(*) FILTER (WHERE a.outcome IN ('emptied', 'skipped', 'unreadable')) AS without_caption,
    median(a.lead_time_seconds) FILTER (WHERE a.outcome IN ('captioned', 'rejected')) AS median_seconds,
    rfc3339(max(a.updated_at)) AS last_at
FROM current_annotations AS a
LEFT JOIN captions AS c ON c.caption_id = a.parent_caption_id
WHERE a.project_key = $project_key AND a.outcome <> 'deleted'
GROUP BY a.person
ORDER BY tasks DESC, a.person;

-- name: annotation_disagreements
-- The last answers of several people on one image of a set that differ, and that nobody has settled: what the image has
-- now still comes from one of them.
WITH answers AS (
    SELECT image_sha256, person, outcome, text, project_key, task_id, updated_at
    FROM current_annotations
    WHERE dataset = $dataset AND target_set = $target_set AND outcome IN ('captioned', 'rejected')
    QUALIFY row_number() OVER (PARTITION BY image_sha256, person ORDER BY updated_at DESC, revision_id DESC) = 1
),
disputed AS (
    SELECT image_sha256 FROM answers GROUP BY image_sha256
    HAVING count(DISTINCT CASE WHEN outcome = 'rejected' THEN '' ELSE text END) > 1
),
latest AS (
    SELECT image_sha256, caption_id, text, run_id
    FROM captions
    WHERE dataset = $dataset AND set_name = $target_set AND image_sha256 IN (SELECT image_sha256 FROM disputed)
    QUALIFY row_number() OVER (PARTITION BY image_sha256 ORDER BY caption_id DESC) = 1
)
SELECT a.image_sha256, a.person, a.outcome, a.text, a.project_key, a.task_id, rfc3339(a.updated_at) AS updated_at,
    l.caption_id AS now_caption_id, l.text AS now_text
FROM answers AS a
JOIN disputed AS d ON d.image_sha256 = a.image_sha256
LEFT JOIN latest AS l ON l.image_sha256 = a.image_sha256
LEFT JOIN caption_runs AS r ON r.run_id = l.run_id
WHERE r.strategy IS NULL OR r.strategy = 'annotate'
ORDER BY a.image_sha256, a.person;
