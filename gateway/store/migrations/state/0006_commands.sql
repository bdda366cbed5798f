-- What devices were told to do. Written before it is done, so that nothing is done twice.
CREATE TABLE command (
    id       TEXT PRIMARY KEY,    -- the asker's
    device   TEXT NOT NULL,
    name     TEXT NOT NULL,
    args     TEXT NOT NULL,       -- JSON
    asked_by TEXT NOT NULL,       -- mqtt, http, cli, rule
    received INTEGER NOT NULL,    -- ns
    expires  INTEGER NOT NULL,    -- ns
    status   TEXT NOT NULL,       -- accepted, executing, ok, failed, expired, rejected
    result   TEXT NOT NULL,       -- JSON
    error    TEXT NOT NULL,
    changed  INTEGER NOT NULL,    -- ns
    number   INTEGER NOT NULL     -- the order in which they came
) STRICT;

CREATE INDEX command_by_number ON command (number);
CREATE INDEX command_by_device ON command (device, number);
