--! Access tokens of the service. The hash never leaves the catalog.

-- name: access_tokens
-- Every token, oldest first.
SELECT t.token_id, t.person, t.scope, t.made_by, rfc3339(t.created_at) AS created_at, rfc3339(t.expires_at) AS expires_at,
    rfc3339(min(r.revoked_at)) AS revoked_at, coalesce(t.expires_at <= now(), false) AS expired
FROM access_tokens t LEFT JOIN access_token_revocations r USING (token_id)
GROUP BY ALL ORDER BY t.token_id;

-- name: access_of
-- Whose token it is and what it may, unless revoked or expired.
SELECT token_id, person, scope FROM access_tokens t
WHERE token_sha256 = $token_sha256 AND (expires_at IS NULL OR expires_at > now())
    AND NOT EXISTS (FROM access_token_revocations r WHERE r.token_id = t.token_id);

-- name: add_access_token
-- Notes a new token.
INSERT INTO access_tokens
SELECT nextval('access_token_ids'), $person, $scope, $token_sha256, $made_by, now(),
    now() + to_days(CAST($days AS INTEGER));

-- name: revoke_access_token
-- Revokes a token; again changes nothing.
INSERT INTO access_token_revocations
SELECT $token_id, $person, now()
WHERE NOT EXISTS (FROM access_token_revocations WHERE token_id = $token_id);
