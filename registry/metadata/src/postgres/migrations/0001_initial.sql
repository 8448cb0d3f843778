-- Times are nanoseconds since 1970-01-01T00:00:00Z. Sizes are bytes. A digest is one byte for its algorithm
-- (1 sha256, 2 sha512) and then its raw bytes. Text that is listed compares byte by byte (COLLATE "C").

CREATE TABLE repositories (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

-- Every blob whose bytes are durable. The lease holds once no link is left. The location is the key of an object,
-- or the empty text where the digest says it.
CREATE TABLE blobs (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest       BYTEA NOT NULL UNIQUE,
    size         BIGINT NOT NULL CHECK (size >= 0),
    location     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    leased_until BIGINT NOT NULL
);

-- Each link is kept from collection by a lease of its own.
CREATE TABLE repository_blobs (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    blob_id       BIGINT NOT NULL REFERENCES blobs (id),
    linked_at     BIGINT NOT NULL,
    leased_until  BIGINT NOT NULL,
    PRIMARY KEY (repository_id, blob_id)
);

CREATE INDEX repository_blobs_by_blob ON repository_blobs (blob_id);

-- One row for the same bytes read as the same type, whatever the number of repositories. The type belongs to the
-- key because bytes that do not say what they are may be pushed under two types, with other parts under each.
CREATE TABLE manifests (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest        BYTEA NOT NULL,
    -- As it was sent; types compare without case (RFC 6838 section 4.2).
    media_type    TEXT COLLATE "C" NOT NULL,
    -- What the referrers list filters by.
    artifact_type TEXT COLLATE "C",
    -- A JSON object, for the referrers list; only of manifests that have a subject.
    annotations   TEXT,
    -- Of the manifest, its config and its layers, each digest once.
    image_size    BIGINT NOT NULL CHECK (image_size >= 0),
    bytes         BYTEA NOT NULL
);

CREATE UNIQUE INDEX manifests_by_digest ON manifests (digest, lower(media_type));

-- What a manifest names, whether or not it is here: kind 1 config, 2 layer, 3 child manifest, 4 subject.
CREATE TABLE manifest_references (
    manifest_id BIGINT NOT NULL REFERENCES manifests (id),
    kind        SMALLINT NOT NULL CHECK (kind BETWEEN 1 AND 4),
    digest      BYTEA NOT NULL,
    PRIMARY KEY (manifest_id, kind, digest)
);

-- Ids grow with each first push, so they are the order of the referrers list: whoever adds a row holds its
-- repository's row locked, so that within a repository ids are in the order of commits.
CREATE TABLE repository_manifests (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id  BIGINT NOT NULL REFERENCES repositories (id),
    manifest_id    BIGINT NOT NULL REFERENCES manifests (id),
    -- Copies of the manifest's, so that one index answers the referrers of a subject in one repository.
    subject        BYTEA,
    artifact_type  TEXT COLLATE "C",
    pushed_at      BIGINT NOT NULL,
    leased_until   BIGINT NOT NULL,
    -- When it lost its last tag or was pushed without one; NULL while it has one.
    untagged_since BIGINT,
    -- When its subject was deleted; a push of it since then makes it NULL.
    orphaned_at    BIGINT,
    pulled_at      BIGINT,
    UNIQUE (repository_id, manifest_id)
);

CREATE INDEX repository_manifests_by_manifest ON repository_manifests (manifest_id);
CREATE INDEX repository_manifests_by_subject ON repository_manifests (repository_id, subject, id)
    WHERE subject IS NOT NULL;
CREATE INDEX repository_manifests_by_type
    ON repository_manifests (repository_id, subject, lower(artifact_type), id) WHERE subject IS NOT NULL;

-- Which manifests of a repository name a digest: kind 1 config, 2 layer, 3 child manifest. One look tells whether
-- anything in the repository holds it, however many manifests elsewhere name it too.
CREATE TABLE repository_references (
    repository_id BIGINT NOT NULL,
    digest        BYTEA NOT NULL,
    kind          SMALLINT NOT NULL CHECK (kind BETWEEN 1 AND 3),
    manifest_id   BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest, kind, manifest_id)
);

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
    state      BYTEA NOT NULL,
    store      BYTEA NOT NULL,
    writer     BIGINT NOT NULL
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

-- effect 'protected': only those in allowed, joined by commas, may push and delete; 'immutable': allowed is empty.
CREATE TABLE tag_rules (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repositories TEXT NOT NULL,
    tags         TEXT NOT NULL,
    effect       TEXT NOT NULL CHECK (effect IN ('protected', 'immutable')),
    allowed      TEXT NOT NULL
);

-- How often the rules changed, by whichever replica: a reader that kept them asks only for this number. The row
-- is locked by each change until its commit, so revisions are in the order of commits.
CREATE TABLE revisions (
    name     TEXT COLLATE "C" PRIMARY KEY,
    revision BIGINT NOT NULL
);

INSERT INTO revisions VALUES ('rules', 0), ('tag_rules', 0);

CREATE FUNCTION raise_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE revisions SET revision = revision + 1 WHERE name = TG_TABLE_NAME;
    RETURN NULL;
END
$$;

CREATE TRIGGER rules_changed AFTER INSERT OR UPDATE OR DELETE ON rules
    FOR EACH STATEMENT EXECUTE FUNCTION raise_revision();
CREATE TRIGGER tag_rules_changed AFTER INSERT OR UPDATE OR DELETE ON tag_rules
    FOR EACH STATEMENT EXECUTE FUNCTION raise_revision();

CREATE TABLE retentions (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix     TEXT NOT NULL,
    rule       TEXT NOT NULL,
    schedule   TEXT NOT NULL,
    started_at BIGINT
);

CREATE TABLE quotas (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix      TEXT COLLATE "C" NOT NULL UNIQUE,
    limit_bytes BIGINT NOT NULL CHECK (limit_bytes >= 0),
    used_bytes  BIGINT NOT NULL DEFAULT 0 CHECK (used_bytes >= 0)
);

-- The quotas that cover a repository.
CREATE TABLE repository_quotas (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    quota_id      BIGINT NOT NULL REFERENCES quotas (id),
    PRIMARY KEY (repository_id, quota_id)
);

CREATE INDEX repository_quotas_by_quota ON repository_quotas (quota_id);

-- How many repositories under a quota link a blob: it counts as long as one does.
CREATE TABLE quota_blobs (
    quota_id BIGINT NOT NULL REFERENCES quotas (id),
    blob_id  BIGINT NOT NULL REFERENCES blobs (id),
    links    BIGINT NOT NULL CHECK (links > 0),
    PRIMARY KEY (quota_id, blob_id)
);

CREATE INDEX quota_blobs_by_blob ON quota_blobs (blob_id);

-- What may have become garbage, and when to look at it: kind 1 the link of a blob, 2 a manifest of a repository,
-- 3 a blob that no repository links (repository 0). The largest time stands for "once the policy lets untagged
-- manifests go".
CREATE TABLE collection_queue (
    kind          SMALLINT NOT NULL CHECK (kind BETWEEN 1 AND 3),
    repository_id BIGINT NOT NULL,
    item_id       BIGINT NOT NULL,
    due_at        BIGINT NOT NULL,
    PRIMARY KEY (kind, repository_id, item_id)
);

CREATE INDEX collection_queue_by_due ON collection_queue (kind, due_at);

-- Deleted manifests whose referrers are to be looked at, those up to after_id being done.
CREATE TABLE deleted_subjects (
    repository_id BIGINT NOT NULL,
    digest        BYTEA NOT NULL,
    after_id      BIGINT NOT NULL,
    deleted_at    BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
);

-- Bytes whose blob row is gone.
CREATE TABLE blob_removals (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest          BYTEA NOT NULL,
    location        TEXT COLLATE "C" NOT NULL,
    size            BIGINT NOT NULL CHECK (size >= 0),
    next_attempt_at BIGINT NOT NULL,
    UNIQUE (digest, location)
);

CREATE INDEX blob_removals_by_attempt ON blob_removals (next_attempt_at, id);

-- Events as the transactions of their changes write them. Their ids are drawn before the commit, so an event may
-- become visible after one of a higher id: no cursor could tell. Whoever reads events first moves what is visible
-- here to the table below, one mover at a time, and there ids are in the order of commits.
CREATE TABLE event_inbox (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository TEXT NOT NULL,
    payload    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE events (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository TEXT NOT NULL,
    payload    TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE event_cursors (
    endpoint        TEXT COLLATE "C" PRIMARY KEY,
    event_id        BIGINT NOT NULL,
    attempts        BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    locked_until    BIGINT NOT NULL,
    claim           BIGINT NOT NULL
);

-- Totals, kept by triggers: counting rows would take time with their number. A total is the sum over its shards;
-- each connection adds to the shard of its process, so that writers do not wait for each other's commit.
CREATE TABLE counters (
    name  TEXT COLLATE "C" NOT NULL,
    shard INTEGER NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name, shard)
);

CREATE FUNCTION add_to_counter(counter TEXT, amount BIGINT) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF amount <> 0 THEN
        INSERT INTO counters VALUES (counter, pg_backend_pid() % 1024, amount)
            ON CONFLICT (name, shard) DO UPDATE SET value = counters.value + excluded.value;
    END IF;
END
$$;

-- Arguments: the counter of rows.
CREATE FUNCTION count_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_to_counter(TG_ARGV[0], (SELECT count(*) FROM added));
    RETURN NULL;
END
$$;

CREATE FUNCTION count_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_to_counter(TG_ARGV[0], -(SELECT count(*) FROM removed));
    RETURN NULL;
END
$$;

-- Arguments: the counter of rows and that of their bytes.
CREATE FUNCTION count_added_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_to_counter(TG_ARGV[0], (SELECT count(*) FROM added));
    PERFORM add_to_counter(TG_ARGV[1], (SELECT coalesce(sum(size), 0)::BIGINT FROM added));
    RETURN NULL;
END
$$;

CREATE FUNCTION count_removed_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM add_to_counter(TG_ARGV[0], -(SELECT count(*) FROM removed));
    PERFORM add_to_counter(TG_ARGV[1], -(SELECT coalesce(sum(size), 0)::BIGINT FROM removed));
    RETURN NULL;
END
$$;

CREATE TRIGGER repositories_added AFTER INSERT ON repositories REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added('repositories');
CREATE TRIGGER repositories_removed AFTER DELETE ON repositories REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed('repositories');
CREATE TRIGGER repository_manifests_added AFTER INSERT ON repository_manifests REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added('manifests');
CREATE TRIGGER repository_manifests_removed AFTER DELETE ON repository_manifests REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed('manifests');
CREATE TRIGGER tags_added AFTER INSERT ON tags REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added('tags');
CREATE TRIGGER tags_removed AFTER DELETE ON tags REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed('tags');
CREATE TRIGGER blobs_added AFTER INSERT ON blobs REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added_bytes('blobs', 'blob_bytes');
CREATE TRIGGER blobs_removed AFTER DELETE ON blobs REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed_bytes('blobs', 'blob_bytes');
CREATE TRIGGER uploads_added AFTER INSERT ON uploads REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added('uploads');
CREATE TRIGGER uploads_removed AFTER DELETE ON uploads REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed('uploads');
CREATE TRIGGER collection_queue_added AFTER INSERT ON collection_queue REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added('queued');
CREATE TRIGGER collection_queue_removed AFTER DELETE ON collection_queue REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed('queued');
CREATE TRIGGER blob_removals_added AFTER INSERT ON blob_removals REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added_bytes('removals', 'removal_bytes');
CREATE TRIGGER blob_removals_removed AFTER DELETE ON blob_removals REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed_bytes('removals', 'removal_bytes');
CREATE TRIGGER event_inbox_added AFTER INSERT ON event_inbox REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added('events');
CREATE TRIGGER event_inbox_removed AFTER DELETE ON event_inbox REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed('events');
CREATE TRIGGER events_added AFTER INSERT ON events REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added('events');
CREATE TRIGGER events_removed AFTER DELETE ON events REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed('events');

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
