CREATE TABLE device (
    id         TEXT PRIMARY KEY,
    original   TEXT NOT NULL,
    source     TEXT NOT NULL,
    first_seen INTEGER NOT NULL,  -- ns
    last_seen  INTEGER NOT NULL,  -- ns, 0: never
    readings   INTEGER NOT NULL,
    UNIQUE (source, original)
) STRICT;

CREATE TABLE dead_letter (
    id       INTEGER PRIMARY KEY,
    stage    TEXT NOT NULL,     -- decode, deliver
    name     TEXT NOT NULL,     -- the source or bridge
    reason   TEXT NOT NULL,     -- one stable word
    detail   TEXT NOT NULL,
    device   TEXT NOT NULL,
    topic    TEXT NOT NULL,
    payload  BLOB NOT NULL,     -- the first 4 KiB
    size     INTEGER NOT NULL,  -- of the whole payload
    time     INTEGER NOT NULL,  -- ns
    reading  BLOB               -- msgpack, where it was one already
) STRICT;

CREATE INDEX dead_letter_by_name ON dead_letter (name, id);
