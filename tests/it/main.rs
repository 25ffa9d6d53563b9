//! The integration tests: one binary, so that it is linked once. Each module is about one part of the system.

mod accounts;
mod projection;
mod sale;
mod startup;
mod store;
mod support;
