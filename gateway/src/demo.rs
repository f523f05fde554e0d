//! The demo: a seeded world, three systems that export what they know of it, and the tenant that
//! connects them.

mod exports;
mod words;
mod world;

pub(crate) use exports::{Edition, truth, write};
pub(crate) use world::World;
