--! Queries on datasets, files, images, near-duplicates and rejects; methods in ../images.py.

-- name: dataset_names
-- Every dataset, by name.
SELECT name FROM datasets ORDER BY name;

-- name: images_of_dataset
-- Each image of a dataset once, in the order it was first seen, with its first path's metadata and its near-duplicate group.
SELECT d.* EXCLUDE (dataset, first_file_id), coalesce(n.representative_sha256, d.image_sha256) AS representative_sha256
FROM dataset_images AS d
LEFT JOIN near_duplicates AS n ON n.dataset = d.dataset AND n.image_sha256 = d.image_sha256
WHERE d.dataset = $dataset
ORDER BY d.first_file_id;
