//! Certificates: how a node is named in one, authorities that sign them, files that hold them, and what is wrong with one in words. All of
//! it with one provider of cryptography, ring. Never decides who is let in.

mod authority;
mod files;
mod name;
mod reasons;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use authority::{Authority, Issued, NoAuthority, Validity};
pub use files::{FileError, certificates, private_key, read};
pub use name::{nodes_named_by, uri_of};
pub(crate) use reasons::find;
pub use reasons::why;

/// What does the cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
