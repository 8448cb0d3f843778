-- Times are nanoseconds since 1970-01-01T00:00:00Z. Sizes are bytes. A digest is one byte for its algorithm
-- (1 sha256, 2 sha512) and then its raw bytes. Text that is listed compares byte by byte (COLLATE "C").

CREATE TABLE repositories (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

-- Every blob whose bytes are durable. A blob that nothing links or references is collected once its lease is out.
CREATE TABLE blobs (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest       BYTEA NOT NULL UNIQUE,
    size         BIGINT NOT NULL CHECK (size >= 0),
    created_at   BIGINT NOT NULL,
    leased_until BIGINT NOT NULL
);

CREATE TABLE repository_blobs (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    blob_id       BIGINT NOT NULL REFERENCES blobs (id),
    linked_at     BIGINT NOT NULL,
    PRIMARY KEY (repository_id, blob_id)
);

CREATE INDEX repository_blobs_by_blob ON repository_blobs (blob_id);

-- One row for the same bytes read as the same type, whatever the number of repositories. The type belongs to the
-- key because bytes that do not say what they are may be pushed under two types, with other parts under each.
CREATE TABLE manifests (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest        BYTEA NOT NULL,
    media_type    TEXT NOT NULL,
    -- What the referrers list filters by.
    artifact_type TEXT,
    -- A JSON object, for the referrers list; only of manifests that have a subject.
    annotations   TEXT,
    -- Of the manifest, its config and its layers, each digest once.
    image_size    BIGINT NOT NULL CHECK (image_size >= 0),
    bytes         BYTEA NOT NULL,
    UNIQUE (digest, media_type)
);

-- What a manifest names, whether or not it is here: kind 1 config, 2 layer, 3 child manifest, 4 subject.
CREATE TABLE manifest_references (
    manifest_id BIGINT NOT NULL REFERENCES manifests (id),
    kind        SMALLINT NOT NULL CHECK (kind BETWEEN 1 AND 4),
    digest      BYTEA NOT NULL,
    PRIMARY KEY (manifest_id, kind, digest)
);

CREATE INDEX manifest_references_by_digest ON manifest_references (digest);

-- Ids grow with each first push, so they are the order of the referrers list: whoever adds a row holds its
-- repository's row locked, so that within a repository ids are in the order of commits.
CREATE TABLE repository_manifests (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    manifest_id   BIGINT NOT NULL REFERENCES manifests (id),
    -- A copy of the manifest's, so that one index answers the referrers of a subject in one repository.
    subject       BYTEA,
    pushed_at     BIGINT NOT NULL,
    UNIQUE (repository_id, manifest_id)
);

CREATE INDEX repository_manifests_by_manifest ON repository_manifests (manifest_id);
CREATE INDEX repository_manifests_by_subject ON repository_manifests (repository_id, subject, id)
    WHERE subject IS NOT NULL;

CREATE TABLE tags (
    repository_id BIGINT NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    manifest_id   BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, manifest_id) REFERENCES repository_manifests (repository_id, manifest_id)
);

CREATE INDEX tags_by_manifest ON tags (repository_id, manifest_id);

-- The repository stands by name: a session alone does not make one.
CREATE TABLE uploads (
    id         TEXT COLLATE "C" PRIMARY KEY,
    repository TEXT COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    algorithm  TEXT NOT NULL,
    -- Bytes that are durable; the state is the hash's over exactly these.
    length     BIGINT NOT NULL CHECK (length >= 0),
    state      BYTEA NOT NULL
);

CREATE INDEX uploads_by_touch ON uploads (touched_at, id);

CREATE TABLE accounts (
    name          TEXT COLLATE "C" PRIMARY KEY,
    kind          TEXT NOT NULL CHECK (kind IN ('user', 'robot')),
    admin         BOOLEAN NOT NULL,
    password_hash TEXT NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE TABLE rules (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject TEXT NOT NULL,
    pattern TEXT NOT NULL,
    actions TEXT NOT NULL
);

CREATE INDEX rules_by_subject ON rules (subject);

-- How often the rules changed, by whichever replica: a reader that kept them asks only for this number. The row
-- is locked by each change until its commit, so revisions are in the order of commits.
CREATE TABLE rules_revision (
    only_row BOOLEAN PRIMARY KEY CHECK (only_row),
    revision BIGINT NOT NULL
);

INSERT INTO rules_revision VALUES (TRUE, 0);

CREATE FUNCTION raise_rules_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE rules_revision SET revision = revision + 1;
    RETURN NULL;
END
$$;

CREATE TRIGGER rules_changed AFTER INSERT OR UPDATE OR DELETE ON rules
    FOR EACH STATEMENT EXECUTE FUNCTION raise_rules_revision();

-- Readiness writes here: only a write shows that a write can be taken.
CREATE TABLE readiness (
    only_row    BOOLEAN PRIMARY KEY CHECK (only_row),
    answered_at BIGINT NOT NULL
);

INSERT INTO readiness VALUES (TRUE, 0);

-- The number of the last write that committed from each slot of each server's pool, written by that write itself.
-- A server whose connection broke during COMMIT reads here whether the write took place. One row for each slot,
-- updated in place; rows of servers that are gone are removed when another starts.
CREATE TABLE write_marks (
    slot     BYTEA PRIMARY KEY,
    sequence BIGINT NOT NULL,
    used_at  BIGINT NOT NULL
);
