-- People who are signed in to the console. Of the cookie only its hash is kept, and of the key by which they came in too.
CREATE TABLE sessions (
  token_hash TEXT PRIMARY KEY,
  key_hash   TEXT NOT NULL,
  created_ms BIGINT NOT NULL,
  expires_ms BIGINT NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires_ms);
