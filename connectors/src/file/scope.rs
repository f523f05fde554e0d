//! Which files a configuration names, and whether it may: everything is resolved to its real place,
//! symbolic links included, and must lie inside a root.

use super::body::Body;
use super::bucket::Bucket;
use super::config::{FileConfig, Format};
use super::error;
use crate::error::ConnectorError;
use globset::{GlobBuilder, GlobMatcher};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];
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
#[derive(Debug, Clone)]
pub(crate) struct FileEntry {
    pub(crate) body: Body,
    /// The name shown to people: never a path of the server for an upload.
    pub(crate) name: String,
}

/// A stream and the files it is read from, in the order of their names.
#[derive(Debug, Clone)]
pub(crate) struct FileStream {
    pub(crate) name: String,
    pub(crate) files: Vec<FileEntry>,
}

/// The streams a configuration names at this moment.
pub(crate) fn resolve(config: &FileConfig, scope: &FileScope) -> Result<Vec<FileStream>, ConnectorError> {
    if let Ok(upload) = Uuid::parse_str(&config.path) {
        let found = scope.uploads.as_ref().and_then(|uploads| uploads.resolve(upload));
        let file = found.ok_or_else(|| error::unknown_upload(&config.path))?;
        let entry = FileEntry { body: Body::File(file.path), name: file.file_name };
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
            let entry = FileEntry { name: file_name(&found), body: Body::File(found) };
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
        return streams_of(on_disk(files), &found, config, &file_name(&found));
    }
    if !config.path.contains(WILDCARDS) {
        return Err(error::nothing_found(&config.path));
    }
    let (base, pattern) = split_pattern(path);
    let Some(base) = literal(&base, &roots, scope)? else { return Err(error::nothing_found(&config.path)) };
    let matcher = compile(&pattern)?;
    let files = walk(&base, &matcher, &roots, config)?;
    streams_of(on_disk(files), &base, config, &stem_of(&pattern))
}

/// What a pattern says of all that it finds: `orders` for `2026/orders-*.csv`.
fn stem_of(pattern: &str) -> String {
    let name = pattern.rsplit('/').next().unwrap_or_default();
    let stem = strip_endings(name).split(WILDCARDS).next().unwrap_or_default();
    stem.trim_matches(['-', '_', '.', ' ']).to_owned()
}

fn on_disk(files: Vec<PathBuf>) -> Vec<(PathBuf, Body)> {
    files.into_iter().map(|path| (path.clone(), Body::File(path))).collect()
}

/// The streams that a configuration names in a bucket at this moment. Waits for the store, so that it
/// is for a thread that may block.
pub(crate) fn resolve_bucket(
    config: &FileConfig,
    bucket: &Bucket,
) -> Result<Vec<FileStream>, ConnectorError> {
    let path = config.path.trim_start_matches('/');
    // An object that has this very name wins over the pattern it might be.
    if let Some(object) = bucket.object(path)? {
        let name = file_name(Path::new(path));
        let entry = FileEntry { body: Body::Object(object), name };
        return Ok(vec![FileStream { name: stream_name(&entry.name), files: vec![entry] }]);
    }
    let (base, pattern) = if path.contains(WILDCARDS) {
        split_pattern(Path::new(path))
    } else {
        (PathBuf::from(path), String::new())
    };
    let matcher = if pattern.is_empty() { None } else { Some(compile(&pattern)?) };
    let mut files = Vec::new();
    let too_many = || error::too_many_files(&config.path, MAX_FILES);
    bucket.list(&base.to_string_lossy(), MAX_WALKED, too_many, |object| {
        let path = PathBuf::from(object.meta.location.as_ref());
        let relative = path.strip_prefix(&base).unwrap_or(&path);
        let wanted = match &matcher {
            // A folder's own files, not those of folders in it.
            None => relative.components().count() == 1 && is_table_name(&file_name(&path)),
            Some(matcher) => matcher.is_match(relative) && !file_name(&path).starts_with('.'),
        };
        if wanted {
            files.push((path, Body::Object(object)));
        }
        if files.len() > MAX_FILES { Err(too_many()) } else { Ok(()) }
    })?;
    let combined = if pattern.is_empty() { file_name(&base) } else { stem_of(&pattern) };
    streams_of(files, &base, config, &combined)
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
        if pattern.is_empty() && !text.contains(WILDCARDS) {
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
    mut files: Vec<(PathBuf, Body)>,
    base: &Path,
    config: &FileConfig,
    combined: &str,
) -> Result<Vec<FileStream>, ConnectorError> {
    if files.is_empty() {
        return Err(error::nothing_found(&config.path));
    }
    files.sort_by(|one, other| one.0.cmp(&other.0));
    let relative = |path: &Path| path.strip_prefix(base).unwrap_or(path).to_string_lossy().into_owned();
    if config.combine {
        let name = if combined.is_empty() { file_name(base) } else { combined.to_owned() };
        let entry = |(path, body): (PathBuf, Body)| FileEntry { name: relative(&path), body };
        let files = files.into_iter().map(entry).collect();
        return Ok(vec![FileStream { name, files }]);
    }
    // Names that collide get what tells them apart: their folder, else their ending.
    let mut by_name: BTreeMap<String, Vec<(PathBuf, Body)>> = BTreeMap::new();
    for (path, body) in files {
        by_name.entry(stream_name(&file_name(&path))).or_default().push((path, body));
    }
    let mut streams = Vec::new();
    for (name, paths) in by_name {
        let alone = paths.len() == 1;
        let in_folder: Vec<String> =
            paths.iter().map(|(path, _)| strip_endings(&relative(path)).to_owned()).collect();
        for (at, (path, body)) in paths.into_iter().enumerate() {
            let folder_tells = in_folder.iter().filter(|other| **other == in_folder[at]).count() == 1;
            let name = match (alone, folder_tells) {
                (true, _) => name.clone(),
                (false, true) => in_folder[at].clone(),
                (false, false) => relative(&path),
            };
            streams.push(FileStream { name, files: vec![FileEntry { body, name: file_name(&path) }] });
        }
    }
    Ok(streams)
}
