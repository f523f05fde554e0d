//! Tables of the log file, and how connections to it are set up.

use crate::error::LogError;
use autonomos_domain::ids::LogId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::{path::Path, time::Duration};

/// Format of the file; another one is refused.
const FORMAT: &str = "1";

/// `commits.bytes` comes last, so that a scan that filters never touches a large commit's pages.
/// The indexes begin with the aggregate's id, which begins with its time: what is written together
/// touches the same few pages, however long the log is and however many tenants share it. An index that
/// began with the tenant, as it did once, is replaced when the file is opened.
/// `archived` holds, for each commit that was moved to a segment, everything but its bytes.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS commits (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant BLOB NOT NULL,
        aggregate_type INTEGER NOT NULL,
        aggregate_id BLOB NOT NULL,
        first_version INTEGER NOT NULL,
        last_version INTEGER NOT NULL,
        recorded_max INTEGER NOT NULL,
        hash BLOB NOT NULL,
        running_hash BLOB NOT NULL,
        bytes BLOB NOT NULL);
    DROP INDEX IF EXISTS commits_by_aggregate;
    CREATE UNIQUE INDEX IF NOT EXISTS commits_of_aggregate
        ON commits (aggregate_id, tenant, aggregate_type, first_version);
    CREATE TABLE IF NOT EXISTS receipts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        first_sequence INTEGER NOT NULL,
        last_sequence INTEGER NOT NULL,
        commits INTEGER NOT NULL,
        segment TEXT NOT NULL,
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        raw_length INTEGER NOT NULL,
        hash BLOB NOT NULL,
        archived_at INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS archived (
        sequence INTEGER PRIMARY KEY,
        tenant BLOB NOT NULL,
        aggregate_type INTEGER NOT NULL,
        aggregate_id BLOB NOT NULL,
        first_version INTEGER NOT NULL,
        last_version INTEGER NOT NULL,
        recorded_max INTEGER NOT NULL,
        hash BLOB NOT NULL,
        running_hash BLOB NOT NULL,
        receipt INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL);
    DROP INDEX IF EXISTS archived_by_aggregate;
    CREATE UNIQUE INDEX IF NOT EXISTS archived_of_aggregate
        ON archived (aggregate_id, tenant, aggregate_type, first_version);
";

/// The one connection that writes; makes the log if there is none.
pub(super) fn open_writer(
    path: &Path,
    cells: u16,
    max_page_count: Option<u32>,
) -> Result<(Connection, LogId), LogError> {
    let damaged = |error: rusqlite::Error| LogError::Damaged {
        place: path.display().to_string(),
        reason: error.to_string(),
    };
    if cells != 1 {
        return Err(LogError::WrongCells { found: 1, asked: cells });
    }
    let mut connection = Connection::open(path).map_err(damaged)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 8192;
             PRAGMA journal_size_limit = 134217728;
             PRAGMA cache_size = -8192;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(damaged)?;
    let transaction = connection.transaction().map_err(damaged)?;
    transaction.execute_batch(TABLES).map_err(damaged)?;
    let meta = |key: &str| -> Result<Option<String>, LogError> {
        transaction
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(damaged)
    };
    let log_id = match meta("log_id")? {
        Some(text) => {
            let found: u16 = meta("cells")?.and_then(|text| text.parse().ok()).unwrap_or(0);
            if found != cells {
                return Err(LogError::WrongCells { found, asked: cells });
            }
            let format = meta("format")?.unwrap_or_default();
            if format != FORMAT {
                return Err(LogError::Store(format!(
                    "the log has format `{format}`, this program reads format `{FORMAT}`"
                )));
            }
            text.parse().map_err(|_| LogError::Damaged {
                place: path.display().to_string(),
                reason: format!("the log id `{text}` is not one"),
            })?
        }
        None => {
            let log_id = LogId::random();
            for (key, value) in
                [("log_id", log_id.to_string()), ("cells", cells.to_string()), ("format", FORMAT.to_owned())]
            {
                transaction
                    .execute("INSERT INTO meta (key, value) VALUES (?1, ?2)", params![key, value])
                    .map_err(damaged)?;
            }
            log_id
        }
    };
    transaction.commit().map_err(damaged)?;
    if let Some(pages) = max_page_count {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok((connection, log_id))
}

/// The log's id, as the file has it. The rest of what a log says of itself is checked too.
pub(super) fn log_id(connection: &Connection) -> Result<LogId, LogError> {
    let meta = |key: &str| -> Result<String, LogError> {
        let value = connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))?;
        Ok(value)
    };
    let (cells, format) = (meta("cells")?, meta("format")?);
    if cells != "1" || format != FORMAT {
        return Err(LogError::Store(format!("the log says it has `{cells}` cells and format `{format}`")));
    }
    let text = meta("log_id")?;
    text.parse().map_err(|_| LogError::Store(format!("the log id `{text}` is not one")))
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, LogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch("PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;")?;
    Ok(connection)
}
