-- name: cursor
SELECT position, reached, crc FROM cursor
-- name: streams
SELECT s.id, s.device, s.metrics, s.last_seq, s.crc,
       coalesce(min(c.t_min), 0), coalesce(max(c.t_max), 0),
       coalesce(sum(CASE WHEN c.level = 0 THEN c.count END), 0)
FROM stream s LEFT JOIN chunk c ON c.stream = s.id
GROUP BY s.id
-- name: kept
SELECT c.stream, c.level, c.first_seq, c.last_seq
FROM stream s JOIN chunk c ON c.stream = s.id
WHERE c.last_seq > s.last_seq
ORDER BY c.first_seq
-- name: add_stream
INSERT INTO stream (device, metrics, last_seq, crc) VALUES (?, ?, ?, ?)
ON CONFLICT (device, metrics) DO UPDATE SET last_seq = excluded.last_seq, crc = excluded.crc
RETURNING id
-- name: add_chunk
INSERT INTO chunk (stream, t_min, t_max, count, first_seq, last_seq, times, columns,
                   level, rolled, crc)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
-- name: unsettled
INSERT INTO unsettled (chunk, boot, base, crc) VALUES (?, ?, ?, ?)
-- name: unsettled_boots
SELECT DISTINCT boot FROM unsettled
-- name: to_settle
SELECT chunk, base FROM unsettled WHERE boot = ? LIMIT 50
-- name: change_chunk
UPDATE chunk SET stream = ?, t_min = ?, t_max = ?, count = ?, first_seq = ?, last_seq = ?,
                 times = ?, columns = ?, level = ?, rolled = ?, crc = ?
WHERE id = ?
-- name: settled
DELETE FROM unsettled WHERE chunk = ?
-- name: move
UPDATE cursor SET position = ?, reached = ?, crc = ?
-- name: overlapping
SELECT id, first_seq, count, coalesce(rolled, 0) FROM chunk
WHERE stream = ? AND level = ? AND t_min < ? AND t_max >= ?
ORDER BY first_seq
-- name: read
SELECT stream, t_min, t_max, count, first_seq, last_seq, times, columns, level,
       coalesce(rolled, 0), crc
FROM chunk WHERE id = ?
-- name: to_compact
SELECT c.id, c.count, coalesce(c.rolled, 0), c.t_max,
       EXISTS (SELECT 1 FROM unsettled u WHERE u.chunk = c.id), c.first_seq < 0
FROM chunk c
WHERE c.stream = ? AND c.level = 0 AND coalesce(c.rolled, 0) & 8 = 0 AND c.last_seq < ?
ORDER BY c.first_seq, c.id
-- name: to_join
SELECT id, count, first_seq < 0 FROM chunk WHERE stream = ? AND level = ? AND count < ?
ORDER BY first_seq, id
-- name: give_up
UPDATE chunk SET rolled = 15 WHERE id = ?
-- name: delete
DELETE FROM chunk WHERE id = ?
-- name: level
SELECT level FROM chunk WHERE id = ?
-- name: to_roll_first
SELECT DISTINCT c.stream FROM chunk c
WHERE c.level = 0 AND c.t_max < ? AND coalesce(c.rolled, 0) & 8 = 0
  AND NOT EXISTS (SELECT 1 FROM unsettled u WHERE u.chunk = c.id)
LIMIT 50
-- name: expire
DELETE FROM chunk WHERE id IN (
    SELECT c.id FROM chunk c
    WHERE c.level = :level AND c.t_max < :limit
      AND (c.level > 0 OR coalesce(c.rolled, 0) & 8
           OR EXISTS (SELECT 1 FROM unsettled u WHERE u.chunk = c.id))
    ORDER BY c.t_max LIMIT 200)
RETURNING id
-- name: earliest
SELECT min(t_max) FROM chunk WHERE level = ?
-- name: oldest
SELECT max(t_max) FROM (
    SELECT t_max FROM chunk WHERE level = ? ORDER BY t_max LIMIT 50)
-- name: expired
SELECT level, until, crc FROM expired
-- name: note_expired
INSERT OR REPLACE INTO expired (level, until, crc) VALUES (?, ?, ?)
-- name: compacted
SELECT compacted FROM upkeep
-- name: note_compacted
INSERT OR REPLACE INTO upkeep (id, compacted) VALUES (1, ?)
-- name: rolled
SELECT id, stream, first_seq, last_seq, rolled FROM chunk INDEXED BY chunk_by_time
WHERE level = 0 AND rolled & 7
-- name: rollups
SELECT stream, level, first_seq, last_seq FROM chunk INDEXED BY chunk_by_time WHERE level > 0
-- name: levels_of
SELECT c.rolled,
       EXISTS (SELECT 1 FROM chunk r WHERE r.stream = c.stream AND r.level = 1
               AND r.first_seq <= c.first_seq AND r.last_seq >= c.last_seq)
       OR c.t_max < coalesce((SELECT until FROM expired WHERE level = 1), 0),
       EXISTS (SELECT 1 FROM chunk r WHERE r.stream = c.stream AND r.level = 2
               AND r.first_seq <= c.first_seq AND r.last_seq >= c.last_seq)
       OR c.t_max < coalesce((SELECT until FROM expired WHERE level = 2), 0),
       EXISTS (SELECT 1 FROM chunk r WHERE r.stream = c.stream AND r.level = 3
               AND r.first_seq <= c.first_seq AND r.last_seq >= c.last_seq)
       OR c.t_max < coalesce((SELECT until FROM expired WHERE level = 3), 0)
FROM chunk c WHERE c.id = ?
-- name: salvaged
UPDATE chunk SET rolled = 0 WHERE rolled IS NULL;
UPDATE stream SET last_seq = 0, crc = NULL;
UPDATE cursor SET position = 0, crc = NULL,
    reached = max(reached, coalesce((SELECT max(last_seq) + 1 FROM chunk), 0))
