-- Collection by leases and a queue, rules for tags, quotas, and an outbox of events.

-- Where the bytes are: the key of an object, or the empty text where the digest says it.
ALTER TABLE blobs ADD COLUMN location TEXT NOT NULL DEFAULT '';

-- Each link is kept from collection by a lease of its own. That of a blob holds once no link is left.
ALTER TABLE repository_blobs ADD COLUMN leased_until INTEGER NOT NULL DEFAULT 0;
UPDATE repository_blobs SET leased_until = (SELECT blobs.leased_until FROM blobs WHERE blobs.id = blob_id);

ALTER TABLE repository_manifests ADD COLUMN leased_until INTEGER NOT NULL DEFAULT 0;
-- When it lost its last tag or was pushed without one; NULL while it has one.
ALTER TABLE repository_manifests ADD COLUMN untagged_since INTEGER;
-- When its subject was deleted; a push of it since then makes it NULL.
ALTER TABLE repository_manifests ADD COLUMN orphaned_at INTEGER;
ALTER TABLE repository_manifests ADD COLUMN pulled_at INTEGER;
-- A copy of the manifest's as the subject is, so that a filtered list of referrers reads only what it gives.
ALTER TABLE repository_manifests ADD COLUMN artifact_type TEXT;

UPDATE repository_manifests SET
    artifact_type = (SELECT manifests.artifact_type FROM manifests WHERE manifests.id = manifest_id),
    untagged_since = CASE
        WHEN EXISTS (SELECT 1 FROM tags WHERE tags.repository_id = repository_manifests.repository_id
                     AND tags.manifest_id = repository_manifests.manifest_id) THEN NULL
        ELSE pushed_at
    END;

-- Media types compare without case (RFC 6838 section 4.2).
CREATE INDEX repository_manifests_by_type
    ON repository_manifests (repository_id, subject, artifact_type COLLATE NOCASE, id)
    WHERE subject IS NOT NULL;

-- Which manifests of a repository name a digest: kind 1 config, 2 layer, 3 child manifest. One look tells whether
-- anything in the repository holds it, however many manifests elsewhere name it too.
CREATE TABLE repository_references (
    repository_id INTEGER NOT NULL,
    digest        BLOB NOT NULL,
    kind          INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    manifest_id   INTEGER NOT NULL,
    PRIMARY KEY (repository_id, digest, kind, manifest_id)
) STRICT, WITHOUT ROWID;

INSERT INTO repository_references (repository_id, digest, kind, manifest_id)
    SELECT repository_id, digest, kind, manifest_id
    FROM repository_manifests JOIN manifest_references USING (manifest_id) WHERE kind <= 3;

DROP INDEX manifest_references_by_digest;

-- What may have become garbage, and when to look at it: kind 1 the link of a blob, 2 a manifest of a repository,
-- 3 a blob that no repository links (repository 0). The largest time stands for "once the policy lets untagged
-- manifests go".
CREATE TABLE collection_queue (
    kind          INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    repository_id INTEGER NOT NULL,
    item_id       INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    PRIMARY KEY (kind, repository_id, item_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX collection_queue_by_due ON collection_queue (kind, due_at);

-- Everything that stands here now was never queued.
INSERT INTO collection_queue SELECT 1, repository_id, blob_id, leased_until FROM repository_blobs;
INSERT INTO collection_queue
    SELECT 2, repository_id, manifest_id, untagged_since FROM repository_manifests
    WHERE untagged_since IS NOT NULL;
INSERT INTO collection_queue
    SELECT 3, 0, id, leased_until FROM blobs
    WHERE NOT EXISTS (SELECT 1 FROM repository_blobs WHERE blob_id = blobs.id);

-- Deleted manifests whose referrers are to be looked at, those up to after_id being done.
CREATE TABLE deleted_subjects (
    repository_id INTEGER NOT NULL,
    digest        BLOB NOT NULL,
    after_id      INTEGER NOT NULL,
    deleted_at    INTEGER NOT NULL,
    PRIMARY KEY (repository_id, digest)
) STRICT, WITHOUT ROWID;

-- Bytes whose blob row is gone.
CREATE TABLE blob_removals (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    digest          BLOB NOT NULL,
    location        TEXT NOT NULL,
    size            INTEGER NOT NULL CHECK (size >= 0),
    next_attempt_at INTEGER NOT NULL,
    UNIQUE (digest, location)
) STRICT;

CREATE INDEX blob_removals_by_attempt ON blob_removals (next_attempt_at, id);

ALTER TABLE uploads ADD COLUMN store BLOB NOT NULL DEFAULT x'';
ALTER TABLE uploads ADD COLUMN writer INTEGER NOT NULL DEFAULT 0;

-- effect 'protected': only those in allowed, joined by commas, may push and delete; 'immutable': allowed is empty.
CREATE TABLE tag_rules (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    repositories TEXT NOT NULL,
    tags         TEXT NOT NULL,
    effect       TEXT NOT NULL CHECK (effect IN ('protected', 'immutable')),
    allowed      TEXT NOT NULL
) STRICT;

-- As rules_revision.
CREATE TABLE tag_rules_revision (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    revision INTEGER NOT NULL
) STRICT;

INSERT INTO tag_rules_revision VALUES (1, 0);

CREATE TRIGGER tag_rules_inserted AFTER INSERT ON tag_rules BEGIN
    UPDATE tag_rules_revision SET revision = revision + 1;
END;

CREATE TRIGGER tag_rules_updated AFTER UPDATE ON tag_rules BEGIN
    UPDATE tag_rules_revision SET revision = revision + 1;
END;

CREATE TRIGGER tag_rules_deleted AFTER DELETE ON tag_rules BEGIN
    UPDATE tag_rules_revision SET revision = revision + 1;
END;

CREATE TABLE retentions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    prefix     TEXT NOT NULL,
    rule       TEXT NOT NULL,
    schedule   TEXT NOT NULL,
    started_at INTEGER
) STRICT;

CREATE TABLE quotas (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    prefix      TEXT NOT NULL UNIQUE,
    limit_bytes INTEGER NOT NULL CHECK (limit_bytes >= 0),
    used_bytes  INTEGER NOT NULL DEFAULT 0 CHECK (used_bytes >= 0)
) STRICT;

-- The quotas that cover a repository.
CREATE TABLE repository_quotas (
    repository_id INTEGER NOT NULL REFERENCES repositories (id),
    quota_id      INTEGER NOT NULL REFERENCES quotas (id),
    PRIMARY KEY (repository_id, quota_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX repository_quotas_by_quota ON repository_quotas (quota_id);

-- How many repositories under a quota link a blob: it counts as long as one does.
CREATE TABLE quota_blobs (
    quota_id INTEGER NOT NULL REFERENCES quotas (id),
    blob_id  INTEGER NOT NULL REFERENCES blobs (id),
    links    INTEGER NOT NULL CHECK (links > 0),
    PRIMARY KEY (quota_id, blob_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX quota_blobs_by_blob ON quota_blobs (blob_id);

CREATE TABLE events (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repository TEXT NOT NULL,
    payload    TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE event_cursors (
    endpoint        TEXT PRIMARY KEY,
    event_id        INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    locked_until    INTEGER NOT NULL,
    claim           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Totals, kept by triggers: counting rows would take time with their number.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters VALUES
    ('repositories', (SELECT count(*) FROM repositories)),
    ('manifests', (SELECT count(*) FROM repository_manifests)),
    ('tags', (SELECT count(*) FROM tags)),
    ('blobs', (SELECT count(*) FROM blobs)),
    ('blob_bytes', (SELECT coalesce(sum(size), 0) FROM blobs)),
    ('uploads', (SELECT count(*) FROM uploads)),
    ('queued', (SELECT count(*) FROM collection_queue)),
    ('removals', 0),
    ('removal_bytes', 0),
    ('events', 0),
    ('collected_links', 0),
    ('collected_manifests', 0),
    ('collected_blobs', 0),
    ('collected_bytes', 0);

CREATE TRIGGER repositories_counted AFTER INSERT ON repositories BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'repositories';
END;
CREATE TRIGGER repositories_discounted AFTER DELETE ON repositories BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'repositories';
END;
CREATE TRIGGER manifests_counted AFTER INSERT ON repository_manifests BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'manifests';
END;
CREATE TRIGGER manifests_discounted AFTER DELETE ON repository_manifests BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'manifests';
END;
CREATE TRIGGER tags_counted AFTER INSERT ON tags BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'tags';
END;
CREATE TRIGGER tags_discounted AFTER DELETE ON tags BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'tags';
END;
CREATE TRIGGER blobs_counted AFTER INSERT ON blobs BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'blobs';
    UPDATE counters SET value = value + NEW.size WHERE name = 'blob_bytes';
END;
CREATE TRIGGER blobs_discounted AFTER DELETE ON blobs BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'blobs';
    UPDATE counters SET value = value - OLD.size WHERE name = 'blob_bytes';
END;
CREATE TRIGGER uploads_counted AFTER INSERT ON uploads BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'uploads';
END;
CREATE TRIGGER uploads_discounted AFTER DELETE ON uploads BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'uploads';
END;
CREATE TRIGGER collection_queue_counted AFTER INSERT ON collection_queue BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'queued';
END;
CREATE TRIGGER collection_queue_discounted AFTER DELETE ON collection_queue BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'queued';
END;
CREATE TRIGGER blob_removals_counted AFTER INSERT ON blob_removals BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'removals';
    UPDATE counters SET value = value + NEW.size WHERE name = 'removal_bytes';
END;
CREATE TRIGGER blob_removals_discounted AFTER DELETE ON blob_removals BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'removals';
    UPDATE counters SET value = value - OLD.size WHERE name = 'removal_bytes';
END;
CREATE TRIGGER events_counted AFTER INSERT ON events BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'events';
END;
CREATE TRIGGER events_discounted AFTER DELETE ON events BEGIN
    UPDATE counters SET value = value - 1 WHERE name = 'events';
END;
