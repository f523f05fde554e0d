//! Which files a configuration names, and whether it may: everything is resolved to its real place,
//! symbolic links included, and must lie inside a root.

use super::config::{FileConfig, Format};
use super::error;
use crate::error::ConnectorError;
use globset::{GlobBuilder, GlobMatcher};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// More files than this in one connection are refused.
pub const MAX_FILES: usize = 1_000;
/// A walk that meets more entries than this ends: the pattern is too wide.
const MAX_WALKED: usize = 200_000;

/// An uploaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedFile {
    pub path: PathBuf,
    /// The name it had where it came from; it names the stream and hints at the format.
    pub file_name: String,
}

/// Finds the tenant's own uploads.
pub trait UploadResolver: Send + Sync {
    fn resolve(&self, upload: Uuid) -> Option<UploadedFile>;
}

impl<F: Fn(Uuid) -> Option<UploadedFile> + Send + Sync> UploadResolver for F {
    fn resolve(&self, upload: Uuid) -> Option<UploadedFile> {
        self(upload)
    }
}

/// What one tenant's file connections may reach.
#[derive(Clone, Default)]
pub struct FileScope {
    /// Folders, already resolved for this tenant; none: uploads alone.
    pub roots: Vec<PathBuf>,
    pub uploads: Option<Arc<dyn UploadResolver>>,
}

/// A file of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    pub(crate) path: PathBuf,
    /// The name shown to people: never a path of the server for an upload.
    pub(crate) name: String,
}

/// A stream and the files it is read from, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileStream {
    pub(crate) name: String,
    pub(crate) files: Vec<FileEntry>,
}

/// The streams a configuration names at this moment.
pub(crate) fn resolve(config: &FileConfig, scope: &FileScope) -> Result<Vec<FileStream>, ConnectorError> {
    if let Ok(upload) = Uuid::parse_str(&config.path) {
        let found = scope.uploads.as_ref().and_then(|uploads| uploads.resolve(upload));
        let file = found.ok_or_else(|| error::unknown_upload(&config.path))?;
        let entry = FileEntry { path: file.path, name: file.file_name };
        return Ok(vec![FileStream { name: stream_name(&entry.name), files: vec![entry] }]);
    }
    let roots: Vec<PathBuf> = scope.roots.iter().filter_map(|root| root.canonicalize().ok()).collect();
    let path = Path::new(&config.path);
    if roots.is_empty() || path.components().any(|component| component == Component::ParentDir) {
        return Err(error::outside_roots(&config.path));
    }
    // A name that exists as it stands wins over the pattern it might be.
    if let Some(found) = literal(path, &roots, scope)? {
        if found.is_file() {
            let entry = FileEntry { name: file_name(&found), path: found };
            return Ok(vec![FileStream { name: stream_name(&entry.name), files: vec![entry] }]);
        }
        let mut files = Vec::new();
        let listed = std::fs::read_dir(&found).map_err(|cause| error::io(&config.path, cause))?;
        for item in listed.flatten() {
            let inside =
                item.path().canonicalize().ok().filter(|real| real.is_file() && within(real, &roots));
            if inside.is_some() && is_table_name(&file_name(&item.path())) {
                files.push(item.path());
            }
            if files.len() > MAX_FILES {
                return Err(error::too_many_files(&config.path, MAX_FILES));
            }
        }
        return streams_of(files, &found, config, &file_name(&found));
    }
    if !config.path.contains(['*', '?', '[', '{']) {
        return Err(error::nothing_found(&config.path));
    }
    let (base, pattern) = split_pattern(path);
    let Some(base) = literal(&base, &roots, scope)? else { return Err(error::nothing_found(&config.path)) };
    let matcher = compile(&pattern)?;
    let files = walk(&base, &matcher, &roots, config)?;
    let stem = pattern.rsplit('/').next().unwrap_or_default();
    let stem: String = strip_endings(stem).split(['*', '?', '[', '{']).next().unwrap_or_default().to_owned();
    streams_of(files, &base, config, stem.trim_matches(['-', '_', '.', ' ']))
}

fn compile(pattern: &str) -> Result<GlobMatcher, ConnectorError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|cause| error::configuration("/path", format!("`{pattern}` is no pattern: {cause}")))
}

fn walk(
    base: &Path,
    matcher: &GlobMatcher,
    roots: &[PathBuf],
    config: &FileConfig,
) -> Result<Vec<PathBuf>, ConnectorError> {
    let mut files = Vec::new();
    let walker = walkdir::WalkDir::new(base).follow_links(false).max_depth(16);
    for (walked, item) in walker.into_iter().flatten().enumerate() {
        if walked > MAX_WALKED || files.len() > MAX_FILES {
            return Err(error::too_many_files(&config.path, MAX_FILES));
        }
        let relative = item.path().strip_prefix(base).unwrap_or(item.path());
        if !matcher.is_match(relative) || file_name(item.path()).starts_with('.') {
            continue;
        }
        let inside = item.path().canonicalize().ok().filter(|real| real.is_file() && within(real, roots));
        if inside.is_some() {
            files.push(item.path().to_owned());
        }
    }
    Ok(files)
}

/// The real place of a path that exists; an error if it lies outside the roots.
fn literal(path: &Path, roots: &[PathBuf], scope: &FileScope) -> Result<Option<PathBuf>, ConnectorError> {
    let shown = path.display().to_string();
    if path.is_absolute() {
        // Only below a root (as written or real) may existence be told.
        let claimed = scope.roots.iter().any(|root| path.starts_with(root)) || within(path, roots);
        if !claimed {
            return Err(error::outside_roots(&shown));
        }
        return match path.canonicalize() {
            Ok(real) if within(&real, roots) => Ok(Some(real)),
            Ok(_) => Err(error::outside_roots(&shown)),
            Err(_) => Ok(None),
        };
    }
    for root in roots {
        match root.join(path).canonicalize() {
            Ok(real) if within(&real, roots) => return Ok(Some(real)),
            Ok(_) => return Err(error::outside_roots(&shown)),
            Err(_) => {}
        }
    }
    Ok(None)
}

fn within(path: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| path.starts_with(root))
}

/// The folder before the first wildcard, and the pattern below it.
fn split_pattern(path: &Path) -> (PathBuf, String) {
    let mut base = PathBuf::new();
    let mut pattern: Vec<String> = Vec::new();
    for component in path.components() {
        let text = component.as_os_str().to_string_lossy();
        if pattern.is_empty() && !text.contains(['*', '?', '[', '{']) {
            base.push(component);
        } else {
            pattern.push(text.into_owned());
        }
    }
    (base, pattern.join("/"))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

const ENDINGS: [(&str, Format); 16] = [
    ("csv", Format::Csv),
    ("txt", Format::Csv),
    ("psv", Format::Csv),
    ("tsv", Format::Tsv),
    ("tab", Format::Tsv),
    ("ndjson", Format::Ndjson),
    ("jsonl", Format::Ndjson),
    ("json", Format::Json),
    ("parquet", Format::Parquet),
    ("pq", Format::Parquet),
    ("xlsx", Format::Excel),
    ("xlsm", Format::Excel),
    ("xlsb", Format::Excel),
    ("xls", Format::Excel),
    ("ods", Format::Excel),
    ("xlam", Format::Excel),
];

fn strip_one(name: &str, matches: impl Fn(&str) -> bool) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    (!stem.is_empty() && matches(&ending.to_ascii_lowercase())).then_some(stem)
}

fn strip_compression(name: &str) -> &str {
    strip_one(name, |ending| matches!(ending, "gz" | "gzip" | "zst" | "zstd")).unwrap_or(name)
}

fn strip_endings(name: &str) -> &str {
    let plain = strip_compression(name);
    strip_one(plain, |ending| ENDINGS.iter().any(|(known, _)| *known == ending)).unwrap_or(plain)
}

/// The format that a name promises.
pub(crate) fn format_of_name(name: &str) -> Option<Format> {
    let (_, ending) = strip_compression(name).rsplit_once('.')?;
    let ending = ending.to_ascii_lowercase();
    ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, format)| *format)
}

fn is_table_name(name: &str) -> bool {
    !name.starts_with(['.', '~']) && format_of_name(name).is_some()
}

/// `accounts.csv.gz` → `accounts`.
pub(crate) fn stream_name(file_name: &str) -> String {
    let name = file_name.rsplit(['/', '\\']).next().unwrap_or(file_name);
    let stem = strip_endings(name);
    if stem == name {
        strip_one(name, |ending| ending.len() <= 5).unwrap_or(name).to_owned()
    } else {
        stem.to_owned()
    }
}

fn streams_of(
    mut files: Vec<PathBuf>,
    base: &Path,
    config: &FileConfig,
    combined: &str,
) -> Result<Vec<FileStream>, ConnectorError> {
    if files.is_empty() {
        return Err(error::nothing_found(&config.path));
    }
    files.sort();
    let relative = |path: &Path| path.strip_prefix(base).unwrap_or(path).to_string_lossy().into_owned();
    if config.combine {
        let name = if combined.is_empty() { file_name(base) } else { combined.to_owned() };
        let files = files.into_iter().map(|path| FileEntry { name: relative(&path), path }).collect();
        return Ok(vec![FileStream { name, files }]);
    }
    // Names that collide get what tells them apart: their folder, else their ending.
    let mut by_name: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in files {
        by_name.entry(stream_name(&file_name(&path))).or_default().push(path);
    }
    let mut streams = Vec::new();
    for (name, paths) in by_name {
        let alone = paths.len() == 1;
        let in_folder: Vec<String> =
            paths.iter().map(|path| strip_endings(&relative(path)).to_owned()).collect();
        for (at, path) in paths.iter().enumerate() {
            let folder_tells = in_folder.iter().filter(|other| **other == in_folder[at]).count() == 1;
            let name = match (alone, folder_tells) {
                (true, _) => name.clone(),
                (false, true) => in_folder[at].clone(),
                (false, false) => relative(path),
            };
            streams.push(FileStream {
                name,
                files: vec![FileEntry { path: path.clone(), name: file_name(path) }],
            });
        }
    }
    Ok(streams)
}
