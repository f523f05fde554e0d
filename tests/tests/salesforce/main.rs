//! The Salesforce connector against the tests' Salesforce, and that one against recorded answers and an
//! independent client; where credentials are in the environment, against an organisation too (`live`).

mod drift;
mod faults;
mod journey;
mod kit;
mod live;
mod shapes;
mod source;
