-- name: next
SELECT id, t_min, t_max, count, first_seq FROM chunk
WHERE stream = :stream AND level = 0 AND t_min < :end AND t_max >= :start
ORDER BY t_min, id LIMIT :most
-- name: known_stream
INSERT INTO stream (device, metrics, last_seq, crc) VALUES (?, ?, ?, ?)
ON CONFLICT (device, metrics) DO NOTHING
-- name: number
SELECT id FROM stream WHERE device = ? AND metrics = ?
-- name: lowest
SELECT coalesce(min(first_seq), 0) FROM chunk
