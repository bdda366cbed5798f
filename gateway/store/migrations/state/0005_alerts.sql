CREATE TABLE alert (
    id           INTEGER PRIMARY KEY,
    rule         TEXT NOT NULL,
    source       TEXT NOT NULL,     -- a device, or bridge/home
    severity     TEXT NOT NULL,
    state        TEXT NOT NULL,     -- pending, firing, resolved
    since        INTEGER NOT NULL,  -- ns
    fired        INTEGER NOT NULL,  -- ns, 0: not yet
    ended        INTEGER NOT NULL,  -- ns, 0: not
    value        TEXT NOT NULL,     -- JSON
    limit_text   TEXT NOT NULL,
    message      TEXT NOT NULL,
    labels       TEXT NOT NULL,     -- JSON
    count        INTEGER NOT NULL,
    flaps        INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,  -- ns, 0: not
    by           TEXT NOT NULL,
    told         TEXT NOT NULL,     -- JSON: channel -> ns
    steps        TEXT NOT NULL,     -- JSON: route -> steps of its escalation taken
    UNIQUE (rule, source)
) STRICT;

CREATE TABLE notification (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    kind     TEXT NOT NULL,
    severity TEXT NOT NULL,
    title    TEXT NOT NULL,
    body     TEXT NOT NULL,
    alerts   INTEGER NOT NULL,
    created  INTEGER NOT NULL  -- ns
) STRICT;

CREATE TABLE silence (
    id      INTEGER PRIMARY KEY,
    rule    TEXT NOT NULL,
    source  TEXT NOT NULL,
    start   INTEGER NOT NULL,  -- ns
    end     INTEGER NOT NULL,  -- ns
    labels  TEXT NOT NULL,     -- JSON
    by      TEXT NOT NULL,
    comment TEXT NOT NULL
) STRICT;
