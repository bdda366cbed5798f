-- What people say of devices, and what devices tell of themselves.
CREATE TABLE device_about (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,   -- for people; empty: none
    state      TEXT NOT NULL,   -- new, adopted, ignored
    model      TEXT NOT NULL,
    firmware   TEXT NOT NULL,
    tags       TEXT NOT NULL,   -- JSON, a list
    attributes TEXT NOT NULL    -- JSON, text by name
) STRICT;

-- Names under which a device came before it was merged into another.
CREATE TABLE device_alias (
    source   TEXT NOT NULL,
    original TEXT NOT NULL,
    device   TEXT NOT NULL,
    PRIMARY KEY (source, original)
) STRICT;

-- What devices said last, for the next start.
CREATE TABLE device_last (
    id    TEXT PRIMARY KEY,
    time  INTEGER NOT NULL,  -- ns
    told  TEXT NOT NULL      -- JSON
) STRICT;
