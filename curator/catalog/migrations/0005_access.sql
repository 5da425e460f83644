-- Who may use the service from another machine: `curator token`. A token itself is never kept, only its SHA-256 (it is
-- 256 random bits, so that no slow hash is needed). Append-only: a revocation is a row.

CREATE SEQUENCE access_token_ids;
CREATE TABLE access_tokens (
    token_id BIGINT PRIMARY KEY,
    person VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,          -- read, annotate, write: each holds those before it
    token_sha256 VARCHAR NOT NULL,
    made_by VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ           -- null: never
);

CREATE TABLE access_token_revocations (
    token_id BIGINT NOT NULL,
    person VARCHAR NOT NULL,         -- who revoked it
    revoked_at TIMESTAMPTZ NOT NULL
);
