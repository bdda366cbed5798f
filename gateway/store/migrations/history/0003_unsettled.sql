CREATE TABLE unsettled (      -- chunks whose times were taken while the clock was not set
    chunk INTEGER PRIMARY KEY REFERENCES chunk (id) ON DELETE CASCADE,
    boot  TEXT NOT NULL,      -- the boot they are from
    base  INTEGER NOT NULL,   -- what its CLOCK_BOOTTIME was added to, ns
    crc   INTEGER NOT NULL    -- see gateway/store/checksums.py
) STRICT;
