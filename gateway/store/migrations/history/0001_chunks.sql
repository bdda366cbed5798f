CREATE TABLE stream (
    id       INTEGER PRIMARY KEY,
    device   TEXT NOT NULL,
    metrics  TEXT NOT NULL,     -- JSON list: the names of one shape of report, in order
    last_seq INTEGER NOT NULL,  -- journal sequence of the last sample in a chunk
    UNIQUE (device, metrics)
) STRICT;

CREATE TABLE chunk (
    id        INTEGER PRIMARY KEY,
    stream    INTEGER NOT NULL REFERENCES stream (id),
    level     INTEGER NOT NULL,  -- 0: as received; others are for rollups
    t_min     INTEGER NOT NULL,  -- ns
    t_max     INTEGER NOT NULL,  -- ns
    count     INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    times     BLOB NOT NULL,     -- pcodec, int64 ns, shared by all columns
    columns   BLOB NOT NULL      -- msgpack list of columns in the order of the metrics
) STRICT;

CREATE INDEX chunk_by_time ON chunk (stream, level, t_min);
CREATE INDEX chunk_by_age ON chunk (t_max);

CREATE TABLE cursor (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,  -- the journal is read again from here
    reached  INTEGER NOT NULL   -- the highest sequence seen, plus one
) STRICT;

INSERT INTO cursor VALUES (1, 0, 0);
