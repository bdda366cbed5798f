-- Which of several devices of a source has a name that they share.
CREATE TABLE device_name (
    source TEXT NOT NULL,
    kind   TEXT NOT NULL,  -- by what they are told apart: key, family
    name   TEXT NOT NULL,
    owner  TEXT NOT NULL,  -- the key, or the family, of the one that has it
    crc    INTEGER NOT NULL,
    PRIMARY KEY (source, kind, name)
) STRICT;
