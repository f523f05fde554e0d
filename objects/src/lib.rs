//! Object stores: a folder that every node sees, or a bucket on S3 and what speaks its protocol. A
//! room of its own, because rooms that know nothing of each other keep objects.

mod check;
pub mod error;
mod guard;
pub mod moto;
mod place;
mod s3;
mod tls;

pub use check::check;
pub use error::ObjectError;
pub use guard::Allowed;
pub use place::Place;
pub use s3::{S3, S3Settings};
pub use tls::provider_install;
