//! The master key: a file its owner alone may read, the same for every node.

use super::{KEY_BYTES, KeyStoreError, crypto::random_key};
use std::{
    fs,
    io::{Read, Write},
    path::Path,
};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Reads the key, or makes it if there is none and nothing is wrapped by one.
pub(super) fn open(path: &Path, keys_exist: bool) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyStoreError> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    if keys_exist {
        return Err(KeyStoreError::MasterMissing { path: path.to_owned() });
    }
    match make(path) {
        // Another node made it in this moment.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| KeyStoreError::MasterMissing { path: path.to_owned() })
        }
        made => made.map_err(|source| KeyStoreError::Io { path: path.to_owned(), source }),
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<[u8; KEY_BYTES]>>, KeyStoreError> {
    let io = |source| KeyStoreError::Io { path: path.to_owned(), source };
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyStoreError::Permissions { path: path.to_owned(), mode });
        }
    }
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    file.read_exact(key.as_mut_slice()).map_err(io)?;
    Ok(Some(key))
}

/// Written under a name of its own first, then given its name: a crash leaves no half key, and of two
/// nodes that make it in one folder at the same time, both have the same.
fn make(path: &Path) -> std::io::Result<Zeroizing<[u8; KEY_BYTES]>> {
    let key = random_key();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let partial = path.with_extension(format!("{}.partial", Uuid::new_v4().simple()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&partial)?;
    file.write_all(key.as_slice())?;
    file.sync_all()?;
    let named = fs::hard_link(&partial, path);
    fs::remove_file(&partial)?;
    named?;
    fs::File::open(folder)?.sync_all()?;
    Ok(key)
}
