//! Files, on a disk and in buckets of a real server of S3's protocol: what every connector must do, and how
//! the whole platform takes them.

mod bucket;
mod kit;
