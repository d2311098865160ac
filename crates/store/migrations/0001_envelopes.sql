-- Format 1: one row per resource, and the counter of writes.
-- Times are nanoseconds since 1970, negative before.
CREATE TABLE envelopes (
    kind             TEXT    NOT NULL,
    project          TEXT    NOT NULL,
    location         TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    owner            TEXT    NOT NULL,
    format           INTEGER NOT NULL,
    uid              TEXT    NOT NULL,
    generation       INTEGER NOT NULL,
    resource_version INTEGER NOT NULL,
    owner_epoch      INTEGER NOT NULL,
    created          INTEGER NOT NULL,
    updated          INTEGER NOT NULL,
    spec             BLOB    NOT NULL,
    v1_only          BLOB    NOT NULL,
    status           BLOB    NOT NULL,
    internal         BLOB    NOT NULL,
    PRIMARY KEY (kind, project, location, name)
) STRICT;

CREATE INDEX envelopes_everywhere ON envelopes (kind, created DESC, name);
CREATE INDEX envelopes_under ON envelopes (kind, project, location, created DESC, name);
CREATE INDEX envelopes_owned ON envelopes (kind, project, location, owner, created DESC, name);

CREATE TABLE writes (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL
) STRICT;

INSERT INTO writes (id, count) VALUES (1, 0);
