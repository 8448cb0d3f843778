-- Times are nanoseconds since 1970-01-01T00:00:00Z. Sizes are bytes. A digest is one byte for its algorithm
-- (1 sha256, 2 sha512) and then its raw bytes. Text compares byte by byte, which is the order listings need.

CREATE TABLE repositories (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

-- Every blob whose bytes are durable. A blob that nothing links or references is collected once its lease is out.
CREATE TABLE blobs (
    id           INTEGER PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE,
    size         INTEGER NOT NULL CHECK (size >= 0),
    created_at   INTEGER NOT NULL,
    leased_until INTEGER NOT NULL
) STRICT;

CREATE TABLE repository_blobs (
    repository_id INTEGER NOT NULL REFERENCES repositories (id),
    blob_id       INTEGER NOT NULL REFERENCES blobs (id),
    linked_at     INTEGER NOT NULL,
    PRIMARY KEY (repository_id, blob_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX repository_blobs_by_blob ON repository_blobs (blob_id);

-- One row for the same bytes read as the same type, whatever the number of repositories. The type belongs to the
-- key because bytes that do not say what they are may be pushed under two types, with other parts under each.
-- The bytes stand last, so that reading the other columns never touches their pages.
CREATE TABLE manifests (
    id            INTEGER PRIMARY KEY,
    digest        BLOB NOT NULL,
    media_type    TEXT NOT NULL,
    -- What the referrers list filters by.
    artifact_type TEXT,
    -- A JSON object, for the referrers list; only of manifests that have a subject.
    annotations   TEXT,
    -- Of the manifest, its config and its layers, each digest once.
    image_size    INTEGER NOT NULL CHECK (image_size >= 0),
    bytes         BLOB NOT NULL,
    UNIQUE (digest, media_type)
) STRICT;

-- What a manifest names, whether or not it is here: kind 1 config, 2 layer, 3 child manifest, 4 subject.
CREATE TABLE manifest_references (
    manifest_id INTEGER NOT NULL REFERENCES manifests (id),
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    digest      BLOB NOT NULL,
    PRIMARY KEY (manifest_id, kind, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX manifest_references_by_digest ON manifest_references (digest);

-- Ids grow with each first push, so they are the order of the referrers list.
CREATE TABLE repository_manifests (
    id            INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repositories (id),
    manifest_id   INTEGER NOT NULL REFERENCES manifests (id),
    -- A copy of the manifest's, so that one index answers the referrers of a subject in one repository.
    subject       BLOB,
    pushed_at     INTEGER NOT NULL,
    UNIQUE (repository_id, manifest_id)
) STRICT;

CREATE INDEX repository_manifests_by_manifest ON repository_manifests (manifest_id);
CREATE INDEX repository_manifests_by_subject ON repository_manifests (repository_id, subject, id)
    WHERE subject IS NOT NULL;

CREATE TABLE tags (
    repository_id INTEGER NOT NULL,
    name          TEXT NOT NULL,
    manifest_id   INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, manifest_id) REFERENCES repository_manifests (repository_id, manifest_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX tags_by_manifest ON tags (repository_id, manifest_id);

-- The repository stands by name: a session alone does not make one.
CREATE TABLE uploads (
    id         TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    touched_at INTEGER NOT NULL,
    algorithm  TEXT NOT NULL,
    -- Bytes that are durable; the state is the hash's over exactly these.
    length     INTEGER NOT NULL CHECK (length >= 0),
    state      BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_by_touch ON uploads (touched_at, id);

CREATE TABLE accounts (
    name          TEXT PRIMARY KEY,
    kind          TEXT NOT NULL CHECK (kind IN ('user', 'robot')),
    admin         INTEGER NOT NULL CHECK (admin IN (0, 1)),
    password_hash TEXT NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: the id of a removed rule never names another one.
CREATE TABLE rules (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,
    pattern TEXT NOT NULL,
    actions TEXT NOT NULL
) STRICT;

CREATE INDEX rules_by_subject ON rules (subject);

-- How often the rules changed, by whichever process: a reader that kept them asks only for this number.
CREATE TABLE rules_revision (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL
) STRICT;

INSERT INTO rules_revision VALUES (1, 0);

CREATE TRIGGER rules_inserted AFTER INSERT ON rules BEGIN
    UPDATE rules_revision SET revision = revision + 1;
END;

CREATE TRIGGER rules_updated AFTER UPDATE ON rules BEGIN
    UPDATE rules_revision SET revision = revision + 1;
END;

CREATE TRIGGER rules_deleted AFTER DELETE ON rules BEGIN
    UPDATE rules_revision SET revision = revision + 1;
END;

-- Readiness writes here: only a write shows that a write can be taken.
CREATE TABLE readiness (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    answered_at INTEGER NOT NULL
) STRICT;

INSERT INTO readiness VALUES (1, 0);
