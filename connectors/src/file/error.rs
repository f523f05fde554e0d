//! The file connector's errors: one constructor per code, so that code, kind and wording stay together.
//! Each code has a page in `docs/errors/`.

use crate::error::ConnectorError;
use std::fmt::Display;
use std::io;

/// More columns than this are refused: a table of that width is nearly always a wrong delimiter or a
/// matrix, and every column costs memory in each batch.
pub const MAX_COLUMNS: usize = 4_096;
/// A cell longer than this is not taken in; its row is rejected.
pub const MAX_CELL_BYTES: usize = 1024 * 1024;
/// A row longer than this is not taken in. It bounds the memory that a reader needs.
pub const MAX_ROW_BYTES: usize = 4 * 1024 * 1024;

/// Codes of rows that are rejected alone.
pub(crate) const ROW_RAGGED: &str = "AOS-0221";
pub(crate) const ROW_NOT_UTF8: &str = "AOS-0222";
pub(crate) const ROW_TOO_LONG: &str = "AOS-0223";
pub(crate) const ROW_QUOTE_OPEN: &str = "AOS-0224";
pub(crate) const ROW_NOT_AN_OBJECT: &str = "AOS-0225";

pub(crate) fn configuration(field: &str, message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration { code: "AOS-0202", field: field.to_owned(), message: message.into() }
}

/// Says the same whether the path exists or not: what lies outside the roots is nobody's to probe.
pub(crate) fn outside_roots(path: &str) -> ConnectorError {
    ConnectorError::Configuration {
        code: "AOS-0203",
        field: "/path".to_owned(),
        message: format!(
            "`{path}` is not inside a folder this organisation may read: upload the file, or ask the operator to add its folder to AOS_FILE_ROOTS"
        ),
    }
}

pub(crate) fn nothing_found(path: &str) -> ConnectorError {
    ConnectorError::Configuration {
        code: "AOS-0204",
        field: "/path".to_owned(),
        message: format!(
            "no file is found at `{path}`: check the name, or that the folder or pattern holds a file of a known format"
        ),
    }
}

pub(crate) fn unknown_upload(path: &str) -> ConnectorError {
    ConnectorError::Configuration {
        code: "AOS-0205",
        field: "/path".to_owned(),
        message: format!("there is no upload `{path}`: upload the file and use the id it answers with"),
    }
}

pub(crate) fn unreadable(name: &str, cause: impl Display) -> ConnectorError {
    ConnectorError::Permission {
        code: "AOS-0206",
        message: format!("`{name}` can't be read: {cause}; let the server's user read it"),
    }
}

pub(crate) fn wrong_type(name: &str, found: &str) -> ConnectorError {
    ConnectorError::Data {
        code: "AOS-0207",
        message: format!(
            "`{name}` is {found}, not a table: deliver CSV, TSV, NDJSON, JSON, Parquet or Excel, plain or compressed with gzip or zstd"
        ),
    }
}

pub(crate) fn empty(name: &str) -> ConnectorError {
    ConnectorError::Data {
        code: "AOS-0208",
        message: format!("`{name}` is empty: deliver a file with a header or at least one row"),
    }
}

pub(crate) fn too_many_columns(name: &str, columns: usize) -> ConnectorError {
    ConnectorError::Data {
        code: "AOS-0209",
        message: format!(
            "`{name}` has {columns} columns, more than the {MAX_COLUMNS} that are allowed: check the delimiter, or deliver fewer columns"
        ),
    }
}

pub(crate) fn bomb(name: &str, detail: impl Display) -> ConnectorError {
    ConnectorError::Data {
        code: "AOS-0210",
        message: format!(
            "`{name}` unpacks to suspiciously much ({detail}): deliver it uncompressed or in parts"
        ),
    }
}

pub(crate) fn changed(name: &str) -> ConnectorError {
    ConnectorError::Transient {
        code: "AOS-0211",
        message: format!(
            "`{name}` changed while it was read: nothing of this edition is completed; it is read again on the next try"
        ),
    }
}

pub(crate) fn no_stream(stream: &str, known: &[String]) -> ConnectorError {
    let shown = known.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("`, `");
    ConnectorError::Schema {
        code: "AOS-0212",
        message: format!("there is no stream `{stream}` any more: found `{shown}`"),
    }
}

pub(crate) fn encoding(label: &str) -> ConnectorError {
    ConnectorError::Configuration {
        code: "AOS-0213",
        field: "/encoding".to_owned(),
        message: format!(
            "`{label}` is no known encoding: use for example `utf-8`, `utf-16le` or `windows-1252`"
        ),
    }
}

pub(crate) fn broken(name: &str, format: &str, cause: impl Display) -> ConnectorError {
    ConnectorError::Data {
        code: "AOS-0214",
        message: format!("`{name}` is broken {format}: {cause}; export it again"),
    }
}

pub(crate) fn key_missing(name: &str, key: &str) -> ConnectorError {
    ConnectorError::Schema {
        code: "AOS-0215",
        message: format!(
            "`{name}` has no column `{key}`, which was declared as its key: correct `primary_key`"
        ),
    }
}

pub(crate) fn too_many_files(path: &str, limit: usize) -> ConnectorError {
    ConnectorError::Configuration {
        code: "AOS-0216",
        field: "/path".to_owned(),
        message: format!("`{path}` matches more than {limit} files: use a narrower pattern"),
    }
}

pub(crate) fn no_sheet(name: &str, sheet: &str) -> ConnectorError {
    ConnectorError::Configuration {
        code: "AOS-0217",
        field: "/sheet".to_owned(),
        message: format!("`{name}` has no sheet `{sheet}`: check the name"),
    }
}

pub(crate) fn bucket_permission(name: &str, cause: impl Display) -> ConnectorError {
    ConnectorError::Permission {
        code: "AOS-0226",
        message: format!(
            "the key may not read `{name}`: it needs `s3:ListBucket` on the bucket and `s3:GetObject` on what is in it ({cause})"
        ),
    }
}

pub(crate) fn bucket_keys(name: &str, cause: impl Display) -> ConnectorError {
    ConnectorError::Authentication {
        code: "AOS-0227",
        message: format!(
            "the store refused the key when `{name}` was asked for: check `access_key_id` and `secret_access_key` ({cause})"
        ),
    }
}

pub(crate) fn bucket(field: &str, message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration { code: "AOS-0228", field: field.to_owned(), message: message.into() }
}

pub(crate) fn io(name: &str, cause: io::Error) -> ConnectorError {
    let cause = match cause.downcast::<ConnectorError>() {
        Ok(own) => return own,
        Err(cause) => cause,
    };
    match cause.kind() {
        io::ErrorKind::PermissionDenied => unreadable(name, cause),
        io::ErrorKind::NotFound => changed(name),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            broken(name, "or cut off", cause)
        }
        _ => ConnectorError::Transient {
            code: "AOS-0218",
            message: format!("reading `{name}` failed: {cause}"),
        },
    }
}
