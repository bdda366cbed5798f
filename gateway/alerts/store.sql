-- name: alerts
SELECT id, rule, source, severity, state, since, fired, ended, value, limit_text, message, labels, count, flaps,
    acknowledged, by, told, steps
FROM alert ORDER BY id
-- name: save
INSERT OR REPLACE INTO alert (id, rule, source, severity, state, since, fired, ended, value, limit_text, message,
    labels, count, flaps, acknowledged, by, told, steps)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
-- name: forget
DELETE FROM alert WHERE id = ?
-- name: notifications
SELECT channel, kind, severity, title, body, alerts, created, id FROM notification ORDER BY id
-- name: add_notification
INSERT INTO notification (channel, kind, severity, title, body, alerts, created, id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
-- name: sent
DELETE FROM notification WHERE id = ?
-- name: seen
SELECT sequence FROM alerts_seen
-- name: save_seen
INSERT OR REPLACE INTO alerts_seen (one, sequence) VALUES (1, ?)
-- name: unseen
DELETE FROM alerts_seen
-- name: silences
SELECT id, rule, source, start, end, labels, by, comment FROM silence ORDER BY id
-- name: add_silence
INSERT OR REPLACE INTO silence (id, rule, source, start, end, labels, by, comment)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
-- name: end_silence
DELETE FROM silence WHERE id = ?
