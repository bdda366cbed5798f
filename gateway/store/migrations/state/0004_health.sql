-- How parts of the gateway were: one row for as long as level and score stayed. Times in epoch ms.
CREATE TABLE health (
    id INTEGER PRIMARY KEY,
    part TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    score INTEGER NOT NULL,
    level TEXT NOT NULL,
    why TEXT NOT NULL
) STRICT;
