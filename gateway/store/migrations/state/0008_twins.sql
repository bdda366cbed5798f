-- What devices are to be, and what they say they are.
CREATE TABLE twin (
    device  TEXT NOT NULL,
    kind    TEXT NOT NULL,     -- desired, reported
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,     -- JSON
    version INTEGER NOT NULL,  -- grows by one with each change
    of      INTEGER NOT NULL,  -- the desired version that a report answers, 0: it does not say
    time    INTEGER NOT NULL,  -- ns
    PRIMARY KEY (device, kind, key)
) STRICT;
