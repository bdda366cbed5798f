-- Which rollups have a raw chunk's samples: a bit for each level, and one for chunks that are
-- as large as they get. Null where an older version wrote it: none.
ALTER TABLE chunk ADD COLUMN rolled INTEGER DEFAULT 0;

DROP INDEX chunk_by_time;
CREATE INDEX chunk_by_time
    ON chunk (stream, level, t_min, t_max, first_seq, last_seq, count, rolled);
DROP INDEX chunk_by_age;
CREATE INDEX chunk_by_age ON chunk (level, t_max);

CREATE TABLE expired (            -- what retention has deleted
    level INTEGER PRIMARY KEY,
    until INTEGER NOT NULL,       -- ns; before it rows of this level may be gone
    crc   INTEGER NOT NULL
) STRICT;

CREATE TABLE upkeep (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    compacted INTEGER NOT NULL    -- ns, when all streams were last gone through
) STRICT;
