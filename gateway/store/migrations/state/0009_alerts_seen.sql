-- Up to where in the journal readings have been looked at for alerts: one row.
CREATE TABLE alerts_seen (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    sequence INTEGER NOT NULL
) STRICT;
