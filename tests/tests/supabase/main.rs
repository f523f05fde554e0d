//! The Supabase connector against a real PostgREST over a real Postgres; where credentials are in the
//! environment, against a project too (`live`).

mod drift;
mod faults;
mod journey;
mod kit;
mod live;
mod pages;
mod source;
